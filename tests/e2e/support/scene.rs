//! A scene: a directory, and processes that carry its mark. It knows what it left
//! behind, and takes it away at the end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::need::search_path;
use super::procs::{MARK, Process, marked};
use super::{SOON, WATCHDOG, wait_until};

/// The command under test.
pub fn stdpkt() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_stdpkt-under-test").into();
    std::env::var_os("STDPKT_TESTS_BIN").map_or_else(built, PathBuf::from)
}

pub struct Scene {
    dir: TempDir,
    mark: String,
    /// The host's interfaces before.
    interfaces: BTreeSet<String>,
    plays: AtomicU32,
}

/// How a program ended.
#[derive(Debug)]
pub struct Outcome {
    /// As a shell says it: 128 + n after signal n.
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// A program under way.
pub struct Play<'scene> {
    scene: &'scene Scene,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Scene {
    pub fn new() -> Scene {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Not in TMPDIR, which may be closed to other users.
        let dir = tempfile::Builder::new().prefix("stdpkt-").tempdir_in("/tmp").expect("/tmp");
        let scene = Scene { dir, mark, interfaces: host_interfaces(), plays: AtomicU32::new(0) };
        fs::create_dir(scene.path("bin")).expect("scene");
        symlink(stdpkt(), scene.path("bin/stdpkt")).expect("scene");
        scene
    }

    /// A path in the scene's directory, which is every program's working directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program of this scene, its output in files, in a process group of its own.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir.path())
            .env(MARK, &self.mark)
            .env_remove("SHMRING_RUNTIME_DIR")
            .env("PATH", search_path(Some(self.path("bin"))))
            .env("LC_ALL", "C")
            .env("HOME", self.dir.path())
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// Starts what [`Scene::command`] made.
    pub fn start(&self, mut command: Command) -> Play<'_> {
        let number = self.plays.fetch_add(1, Ordering::Relaxed);
        let [out, err] = ["out", "err"].map(|kind| self.path(&format!("{kind}.{number}")));
        command.stdout(File::create(&out).expect("scene"));
        command.stderr(File::create(&err).expect("scene"));
        let child = command.spawn().expect("the program starts");
        Play { scene: self, child, out, err }
    }

    /// Starts a script in `shell`, a program and its arguments.
    pub fn start_in(&self, shell: &[&str], script: &str) -> Play<'_> {
        let mut command = self.command(shell[0]);
        command.args(&shell[1..]).arg("-c").arg(script);
        self.start(command)
    }

    /// Starts a script in `sh`.
    pub fn start_sh(&self, script: &str) -> Play<'_> {
        self.start_in(&["sh"], script)
    }

    /// Runs a script in `sh` to its end.
    pub fn sh(&self, script: &str) -> Outcome {
        self.start_sh(script).end()
    }

    /// Runs a pipeline in bash to its end; the status is that of each part.
    pub fn pipeline(&self, pipeline: &str) -> (Vec<i32>, Outcome) {
        statuses_of(self.start_in(&["bash"], &with_statuses(pipeline)).end())
    }

    /// The live processes of this scene.
    pub fn processes(&self) -> Vec<Process> {
        marked(&self.mark)
    }

    /// The live function with `word` on its command line.
    pub fn function(&self, word: &str) -> Process {
        self.find_function(word).unwrap_or_else(|| panic!("no function with {word}"))
    }

    /// The same, if it is there yet.
    pub fn find_function(&self, word: &str) -> Option<Process> {
        let has = |process: &Process| process.args.iter().any(|arg| arg == word);
        self.processes().into_iter().find(|p| p.is_function() && has(p))
    }

    /// Sends a signal to one process of this scene.
    pub fn signal(&self, process: &Process, signal: Signal) {
        process.signal(&self.mark, signal);
    }

    /// Waits until programs of this scene made the file `name`.
    pub fn wait_for_file(&self, name: &str) {
        wait_until(WATCHDOG, || match self.path(name).exists() {
            true => Ok(()),
            false => Err(format!("no file {name}; {}", self.everything_said())),
        });
    }

    /// Waits until somebody looks for neighbours on the FIFO `name`: it locks a place there.
    pub fn wait_for_holder(&self, name: &str) {
        let fifo = fs::metadata(self.path(name)).expect("a FIFO");
        let inode = format!(":{} ", fifo.ino());
        wait_until(SOON, || {
            let locks = fs::read_to_string("/proc/locks").expect("/proc/locks");
            match locks.lines().any(|line| line.contains("OFDLCK") && line.contains(&inode)) {
                true => Ok(()),
                false => Err(format!("nobody on {name}; {}", self.everything_said())),
            }
        });
    }

    /// What all programs of this scene wrote.
    pub fn everything_said(&self) -> String {
        let files = fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
        let outputs = files.filter(|file| {
            let name = file.file_name();
            name.to_string_lossy().starts_with("out.") || name.to_string_lossy().starts_with("err.")
        });
        outputs.map(|file| read(&file.path())).collect()
    }

    /// Nothing is left: no process, no interface, no mount, and thereby no
    /// namespace, which only processes and mounts hold.
    pub fn assert_nothing_left(&self) {
        let start = Instant::now();
        let left = self.left_after(SOON);
        assert!(left.is_empty(), "left behind after {SOON:?}: {left:#?}");
        println!("all gone after {:?}", start.elapsed());
    }

    /// What is still left some time after the end.
    pub fn left_after(&self, limit: Duration) -> Vec<String> {
        let start = Instant::now();
        loop {
            let left = self.left();
            if left.is_empty() || start.elapsed() > limit {
                return left;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends every process of this scene.
    pub fn kill_all(&self) {
        let start = Instant::now();
        while start.elapsed() < SOON {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            left.iter().for_each(|process| self.signal(process, Signal::KILL));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn left(&self) -> Vec<String> {
        let processes = self.processes().into_iter().map(|process| format!("{process:?}"));
        let now = host_interfaces();
        let interfaces = now.difference(&self.interfaces).map(|name| format!("interface {name}"));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let path = self.dir.path().display().to_string();
        let mounts = mounts.lines().filter(|line| line.contains(&path)).map(str::to_owned);
        processes.chain(interfaces).chain(mounts).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.kill_all(); // only after a failure is there anything to kill
    }
}

impl Play<'_> {
    /// Waits for the program's end, not for that of others that it started.
    pub fn end(self) -> Outcome {
        let scene = self.scene;
        let ended = self.end_within(WATCHDOG);
        ended.unwrap_or_else(|| panic!("not within {WATCHDOG:?}: {}", scene.everything_said()))
    }

    /// The same, if that comes in time; the time in which we were stopped does not count.
    pub fn end_within(mut self, limit: Duration) -> Option<Outcome> {
        let mut waited = Duration::ZERO;
        while self.child.try_wait().expect("wait").is_none() {
            if waited > limit {
                return None;
            }
            let look = Instant::now();
            std::thread::sleep(Duration::from_millis(5));
            waited += look.elapsed().min(Duration::from_secs(1));
        }
        let status = self.child.wait().expect("wait");
        Some(Outcome { status: code(status), out: read(&self.out), err: read(&self.err) })
    }

    /// Ends the program's process group, and nothing is left.
    pub fn end_all(self) {
        let scene = self.scene;
        self.signal_group(Signal::TERM);
        self.end();
        scene.assert_nothing_left();
    }

    /// Sends a signal to the program's process group, as a terminal does.
    pub fn signal_group(&self, signal: Signal) {
        let group = Pid::from_child(&self.child);
        kill_process_group(group, signal).expect("the process group is there");
    }
}

impl Outcome {
    /// The one line on standard error, of a program that did nothing else.
    pub fn only_line(&self) -> &str {
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert_eq!(self.out, "");
        self.err.trim_end()
    }
}

/// As a shell says it.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn host_interfaces() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A bash script that prints the status of each part of `pipeline`.
pub fn with_statuses(pipeline: &str) -> String {
    format!("{pipeline}\necho \"${{PIPESTATUS[@]}}\"")
}

/// Reads what [`with_statuses`] printed.
pub fn statuses_of(outcome: Outcome) -> (Vec<i32>, Outcome) {
    let last = outcome.out.lines().last().unwrap_or_default();
    let statuses = last.split(' ').map(|s| s.parse().expect("a status")).collect();
    (statuses, outcome)
}
