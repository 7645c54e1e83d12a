//! Interfaces that are ends of veth pairs.

use anyhow::Result;
use cable::{Cable, Jack};

use super::Function;
use crate::stack::device::Device;
use crate::told;

impl Function {
    /// A descriptor of an interface became ready: its neighbour may be, which CMD waits for.
    pub(super) fn interface_woken(&mut self, at: usize) -> Result<()> {
        self.jacks[at].woken();
        if self.jacks[at].edge_mut().veth().is_some() { self.start_command() } else { Ok(()) }
    }

    /// Tells each neighbour on a veth pair when all others are ready: what it sends then
    /// gets through.
    pub(super) fn announce(&mut self) {
        let is_ready = |jack: &Jack<Device>| jack.is_complete() && jack.edge().is_ready();
        let missing = self.jacks.iter().filter(|jack| !is_ready(jack)).count();
        for jack in &mut self.jacks {
            let others = missing - usize::from(!is_ready(jack));
            if let (0, Some(veth)) = (others, jack.edge_mut().veth()) {
                veth.announce();
            }
        }
    }

    /// A neighbour on a veth pair ended before it was ready: a link with it never was up.
    pub(super) fn say_who_never_came(&mut self) {
        for jack in &mut self.jacks {
            let is_gone = !jack.cables.iter().any(Cable::is_up);
            if is_gone && jack.edge_mut().veth().is_some_and(|veth| !veth.was_met()) {
                let name = &jack.name;
                return told::say_of_neighbour(format_args!(
                    "{name}: the neighbour ended before the link was up"
                ));
            }
        }
    }

    /// A veth pair goes with the neighbour, and no other comes in its place.
    pub(super) fn give_up_veths(&mut self) {
        for jack in &mut self.jacks {
            if jack.edge_mut().veth().is_some() {
                jack.cables.iter_mut().filter(|cable| !cable.is_up()).for_each(Cable::give_up);
            }
        }
    }
}
