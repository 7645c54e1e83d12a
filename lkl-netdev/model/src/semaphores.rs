//! The semaphores of LKL's kernel.

use loom::sync::Arc;
use loom::thread;

use crate::sem::Sem;

#[test]
fn a_post_wakes_who_sleeps_or_is_about_to() {
    loom::model(|| {
        let sem = Arc::new(Sem::<()>::new());
        let other = sem.clone();
        let poster = thread::spawn(move || assert!(other.up().is_none()));
        if !sem.try_down() {
            sem.sleep();
        }
        assert!(!sem.try_down(), "one post, taken twice");
        poster.join().unwrap();
    });
}

#[test]
fn two_sleep_and_two_posts_let_both_go_on() {
    loom::model(|| {
        let sem = Arc::new(Sem::<()>::new());
        let sleepers = [(); 2].map(|()| {
            let sem = sem.clone();
            thread::spawn(move || sem.sleep())
        });
        assert!(sem.up().is_none() && sem.up().is_none());
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
    });
}

/// A kernel thread is either queued and given to who posts, or goes on by itself.
#[test]
fn a_kernel_thread_is_not_forgotten() {
    loom::model(|| {
        let sem = Arc::new(Sem::<u8>::new());
        let other = sem.clone();
        let poster = thread::spawn(move || other.up());
        let goes_on = sem.queue(7);
        let is_made_ready = poster.join().unwrap();
        assert_eq!([goes_on, is_made_ready].into_iter().flatten().collect::<Vec<_>>(), [7]);
        assert!(!sem.try_down());
    });
}
