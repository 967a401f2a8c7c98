// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The queue of stages: what asynchronous copies, waits and barriers mean, as a machine of few states.
//!
//! In: the events of a task in program order. Out: the next state, or what the event forbids. The interpreter follows one state; the
//! verifier follows the set of all that a place of the program can be reached in.
//!
//! A stage is free, then being filled, then in flight (closed by a commit), then the front (after a wait), then released, and free again.
//! Several warps divide the copies among them, so the front may be read only after a barrier behind the wait, when every warp's copies
//! have arrived, and a released stage is free only after a barrier behind the release, when no warp reads it any more. On machines with
//! `cp.async` a commit is `cp.async.commit_group`, a wait is `cp.async.wait_group` with the same number.

/// What the front is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Front {
    /// No stage.
    None,
    /// A stage whose own copies have arrived, perhaps not those of other warps.
    Arrived,
    /// A stage that may be read.
    Open,
}

/// Where the stages of a task are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue {
    stages: u32,
    /// Whether several warps fill and read.
    shared: bool,
    filling: bool,
    flying: u32,
    front: Front,
    /// Released since the last barrier.
    given: u32,
}

/// What a program may not do to its stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum QueueError {
    /// A stage is filled while none is free.
    #[error("a stage is filled while every stage is in flight or being read")]
    Busy,
    /// A stage is filled that another warp may still read.
    #[error("a stage is filled that was released after the last barrier")]
    StillRead,
    /// Nothing was filled.
    #[error("a stage is committed that nothing fills")]
    Empty,
    /// Nothing is in flight.
    #[error("a wait for a stage while none is in flight")]
    Nothing,
    /// Too few stages are awaited.
    #[error("a wait leaves {ahead} stages in flight, of {flying}: it does not cover the oldest")]
    Uncovered {
        /// Stages that may stay in flight.
        ahead: u32,
        /// Stages in flight.
        flying: u32,
    },
    /// A wait before the front is released.
    #[error("a wait for the next stage before the last one is released")]
    Held,
    /// A read without a wait.
    #[error("a stage is read before a wait for it")]
    Unawaited,
    /// A read of what other warps copy.
    #[error("a stage is read before the barrier behind its wait")]
    Unseen,
    /// A release without a front.
    #[error("a stage is released that no wait made the front")]
    NotHeld,
    /// The end of a task.
    #[error("a task ends with stages that are filled, in flight or not released")]
    Left,
}

impl Queue {
    /// All of `stages` stages free, for one warp or several.
    pub fn new(stages: u32, warps: u32) -> Queue {
        Queue {
            stages,
            shared: warps > 1,
            filling: false,
            flying: 0,
            front: Front::None,
            given: 0,
        }
    }

    /// Stages closed and not yet waited for.
    pub fn flying(&self) -> u32 {
        self.flying
    }

    /// Whether the stage at the rear is being filled.
    pub fn filling(&self) -> bool {
        self.filling
    }

    fn free(&self) -> u32 {
        let used = u32::from(self.filling)
            + self.flying
            + u32::from(self.front != Front::None)
            + self.given;
        self.stages.saturating_sub(used)
    }

    /// Something is written into the rear.
    ///
    /// # Errors
    /// When that begins a stage and none is free.
    pub fn fill(&mut self) -> Result<(), QueueError> {
        if !self.filling && self.free() == 0 {
            return Err(if self.given > 0 {
                QueueError::StillRead
            } else {
                QueueError::Busy
            });
        }
        self.filling = true;
        Ok(())
    }

    /// Closes the rear.
    ///
    /// # Errors
    /// When nothing fills it.
    pub fn commit(&mut self) -> Result<(), QueueError> {
        if !self.filling {
            return Err(QueueError::Empty);
        }
        self.filling = false;
        self.flying += 1;
        Ok(())
    }

    /// Waits until at most `ahead` stages are in flight and takes the oldest as the front.
    ///
    /// # Errors
    /// When there is a front, no stage in flight, or the oldest is not covered.
    pub fn wait(&mut self, ahead: u32) -> Result<(), QueueError> {
        if self.front != Front::None {
            return Err(QueueError::Held);
        }
        let flying = self.flying;
        let rest = flying.checked_sub(1).ok_or(QueueError::Nothing)?;
        if ahead > rest {
            return Err(QueueError::Uncovered { ahead, flying });
        }
        self.flying = rest;
        self.front = if self.shared {
            Front::Arrived
        } else {
            Front::Open
        };
        Ok(())
    }

    /// The front is read.
    ///
    /// # Errors
    /// When there is none, or other warps' copies may be missing.
    pub fn read(&self) -> Result<(), QueueError> {
        match self.front {
            Front::None => Err(QueueError::Unawaited),
            Front::Arrived => Err(QueueError::Unseen),
            Front::Open => Ok(()),
        }
    }

    /// Gives the front back.
    ///
    /// # Errors
    /// When there is none.
    pub fn release(&mut self) -> Result<(), QueueError> {
        if self.front == Front::None {
            return Err(QueueError::NotHeld);
        }
        self.front = Front::None;
        self.given += u32::from(self.shared);
        Ok(())
    }

    /// Every warp has come here.
    pub fn barrier(&mut self) {
        self.given = 0;
        if self.front == Front::Arrived {
            self.front = Front::Open;
        }
    }

    /// The task ends.
    ///
    /// # Errors
    /// When a stage is neither free nor released.
    pub fn end(&self) -> Result<(), QueueError> {
        if self.filling || self.flying > 0 || self.front != Front::None {
            return Err(QueueError::Left);
        }
        Ok(())
    }
}
