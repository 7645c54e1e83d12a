//! A function as a part of a chain that changes.

use std::time::Instant;

use anyhow::{Result, bail};

use super::{Function, Stage};
use crate::succession::member::Member;

impl Member for Function {
    fn flush(&mut self, until: Instant) -> bool {
        self.jacks.iter_mut().for_each(|jack| jack.empty(until));
        true
    }

    fn can_hold(&self) -> Result<()> {
        if self.stage == Stage::Living { Ok(()) } else { bail!("it is ending") }
    }

    fn can_leave(&self) -> Result<()> {
        self.can_hold()?;
        if self.running || !self.command.is_empty() {
            bail!("it runs CMD, with which its connections would end: end that instead");
        }
        if !self.bridges {
            bail!(
                "it joins two networks, and its neighbours would not understand each other without \
                 it: of stdpkt run only --bridge can be taken out"
            );
        }
        Ok(())
    }
}
