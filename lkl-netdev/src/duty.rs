//! Who sees to it that a device's frames are taken: what its poll thread may do while
//! others look at the ring.
//!
//! | the poll thread | the ring's bell | a frame that comes now |
//! |---|---|---|
//! | is [awake](Rest::Awake) | | is found before it sleeps |
//! | [dozes](Rest::Dozing) | not asked for | is found by who looks, or when the doze ends |
//! | [sleeps](Rest::Asleep) | asked for | rings it |
//! | [sleeps, deaf](Rest::Deaf) | not asked for | is found by who takes those before it |
//!
//! Only the poll thread takes a bell back, and only when it wakes: who looks may ask for
//! one while the poll thread dozes, and otherwise leaves it alone. A looker that took
//! back what the sleeping poll thread had asked for would leave nobody to be woken by
//! the next frame.

/// How the ring tells of its next frame.
pub(crate) trait Bell {
    /// Asks for it; `false` when there is a frame already, and nothing was asked for.
    fn ask(&mut self) -> bool;
    /// Takes that back.
    fn take_back(&mut self);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Awake,
    Dozing,
    Asleep,
    Deaf,
}

/// The state of a device's poll thread, under the lock of its receiving side.
#[derive(Debug)]
pub(crate) struct Duty(Rest);

impl Duty {
    pub fn new() -> Duty {
        Duty(Rest::Awake)
    }

    /// The poll thread sleeps for a moment: somebody looks at the ring.
    pub fn doze(&mut self) {
        self.0 = Rest::Dozing;
    }

    /// The poll thread wants to sleep until it is told to wake. `false`: there is a frame
    /// to be taken first. `wanted`: LKL waits for one.
    pub fn sleep(&mut self, bell: &mut impl Bell, wanted: bool) -> bool {
        self.0 = match bell.ask() {
            true => Rest::Asleep,
            false if wanted => return false,
            // LKL has no room for it. It tells the device when it has, not this thread.
            false => Rest::Deaf,
        };
        true
    }

    /// The poll thread woke up, for whatever reason.
    pub fn wake(&mut self, bell: &mut impl Bell) {
        self.0 = Rest::Awake;
        bell.take_back();
    }

    /// LKL takes a frame.
    pub fn found(&mut self) {
        if self.0 == Rest::Asleep {
            // Its bell was rung when the frame came: the poll thread is on its way.
            self.0 = Rest::Awake;
        }
    }

    /// LKL finds no frame, and will be told of the next one. `false`: there is one now.
    pub fn empty(&mut self, bell: &mut impl Bell) -> bool {
        if self.0 != Rest::Deaf {
            return true;
        }
        let asked = bell.ask();
        if asked {
            self.0 = Rest::Asleep;
        }
        asked
    }

    /// Nobody looks any more. `false`: there is a frame.
    pub fn left_alone(&mut self, bell: &mut impl Bell) -> bool {
        if self.0 != Rest::Dozing {
            return true;
        }
        let asked = bell.ask();
        if asked {
            self.0 = Rest::Asleep;
        }
        asked
    }

    /// Whether the poll thread sleeps although there is a frame.
    pub fn is_deaf(&self) -> bool {
        self.0 == Rest::Deaf
    }

    /// Whether the poll thread looks around within a doze.
    pub fn is_near(&self) -> bool {
        matches!(self.0, Rest::Awake | Rest::Dozing)
    }
}
