//! What other threads do with a machine: tasks that run on its own thread between instructions, while no vCPU executes; holding it; and what
//! they hear of it.
//!
//! Data path: monitor, control socket -> [`Handle::call`] -> the inbox -> [`Machine::serve_tasks`], when all vCPUs have stopped -> the answer. A held
//! machine executes nothing and its guest time stands still, but it goes on doing tasks.

use crate::machine::{Handle, lock};
use crate::run::Machine;
use crate::schema::DeviceType;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// The input port of a device that a power button is connected to.
pub const POWER_BUTTON: &str = "power-button";

/// Something to do with a machine.
pub type Task = Box<dyn FnOnce(&mut Machine) + Send>;

/// What happened to a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// It is held.
    Held,
    /// It goes on.
    Resumed,
    /// It was reset.
    Reset(Cause),
    /// Its power button was pressed.
    PowerButton,
    /// The run ends with this exit code.
    Ended(i32, Cause),
}

/// On whose account a machine is reset, or ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The guest switched off.
    GuestShutdown,
    /// The guest asked for a reset.
    GuestReset,
    /// The monitor or the control socket ended it.
    Quit,
    /// The monitor or the control socket reset it.
    Reset,
    /// A signal to the program.
    Signal,
    /// The user at the console.
    User,
    /// The program itself, such as when a watched text appeared.
    Host,
}

/// Somebody who hears of events; called on the machine's threads, must not block.
pub type Listener = Box<dyn Fn(Event) + Send + Sync>;

impl Handle {
    /// Has something done with the machine between instructions. After the end of the machine nothing is done: the task is dropped.
    pub fn ask(&self, task: Task) {
        let mut inbox = self.inbox();
        if !inbox.ended {
            inbox.tasks.push_back(task);
            self.0.asked.store(true, Ordering::Release);
            drop(inbox);
            self.wake();
        }
    }

    /// Has something done with the machine between instructions, and waits for what comes of it; `None`: the machine ended before.
    /// Not for the machine's own threads, which would wait for themselves.
    pub fn call<R: Send + 'static>(&self, f: impl FnOnce(&mut Machine) -> R + Send + 'static) -> Option<R> {
        let (answer, answered) = channel();
        self.ask(Box::new(move |machine| _ = answer.send(f(machine))));
        answered.recv().ok()
    }

    /// Tells this listener of events from now on.
    pub fn listen(&self, listener: Listener) {
        lock(&self.0.listeners).push(listener);
    }

    pub(crate) fn tell(&self, event: Event) {
        lock(&self.0.listeners).iter().for_each(|l| l(event));
    }

    /// The machine is no more.
    pub(crate) fn end(&self) {
        let tasks = {
            let mut inbox = self.inbox();
            inbox.ended = true;
            std::mem::take(&mut inbox.tasks)
        };
        drop(tasks);
    }
}

impl Machine {
    /// Executes nothing from now on, and stops guest time, until [`Machine::resume`].
    pub fn hold(&mut self) {
        if !self.held {
            self.held = true;
            self.core.clock.freeze();
            self.core.handle.tell(Event::Held);
        }
    }

    /// Goes on.
    pub fn resume(&mut self) {
        if self.held {
            self.held = false;
            self.core.clock.thaw();
            self.core.handle.tell(Event::Resumed);
        }
    }

    /// It is held.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Does what it was asked. While it is held and the run goes on, it waits for more: for this long, or as long as it takes. For who has the
    /// machine and does not run it: a debugger that waits for its next command.
    pub fn serve_tasks(&mut self, time: Option<Duration>) {
        let until = time.map(|time| Instant::now() + time);
        loop {
            while let Some(task) = self.core.handle.next_task() {
                task(self);
            }
            let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
            if !self.held || self.core.handle.is_ending() || rest.is_some_and(|rest| rest.is_zero()) {
                return;
            }
            self.core.handle.wait(rest);
        }
    }

    /// Resets the machine now, or ends the run if it is to end at resets. A held machine stays held.
    ///
    /// # Errors
    /// As [`Machine::reset`].
    pub fn reset_for(&mut self, cause: Cause) -> Result<(), String> {
        if self.no_reboot {
            self.core.handle.stop_for(0, cause);
            return Ok(());
        }
        self.reset()?;
        self.core.handle.tell(Event::Reset(cause));
        Ok(())
    }

    /// Presses and releases the power button: a device's input port of that name. False: there is none.
    pub fn press_power_button(&mut self) -> bool {
        let port = |kind: &DeviceType| kind.inputs.iter().position(|p| p.name == POWER_BUTTON);
        let Some((device, port)) = self.core.devices.iter().enumerate().find_map(|(i, d)| Some((i, port(&d.kind)?))) else { return false };
        self.core.handle.tell(Event::PowerButton);
        for level in [true, false] {
            self.core.call(device, None, |d, cx| d.line_changed(port, 0, level, cx));
        }
        true
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.core.handle.end();
    }
}
