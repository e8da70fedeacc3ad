//! The terminal while the screen has it, and as it was found afterwards: also behind a panic.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use rustix::stdio;
use tokio::sync::mpsc;

/// The terminal with the screen on it.
pub(super) struct Screen {
    pub(super) terminal: DefaultTerminal,
    /// Standard error, where that is the same terminal: lines of the log would tear the screen.
    muted: Option<Arc<OwnedFd>>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Where it isn't one that can be taken.
    pub(super) fn take() -> io::Result<Self> {
        let muted = if io::stderr().is_terminal() { Some(Arc::new(mute()?)) } else { None };
        if let Some(stderr) = &muted {
            let stderr = Arc::clone(stderr);
            let tell = std::panic::take_hook();
            // The one that gives the terminal back is put around it.
            std::panic::set_hook(Box::new(move |panic| {
                unmute(&stderr);
                tell(panic);
            }));
        }
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal, muted }),
            Err(error) => {
                muted.iter().for_each(|stderr| unmute(stderr));
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
        self.muted.iter().for_each(|stderr| unmute(stderr));
    }
}

/// Sends standard error nowhere, and gives what it was.
fn mute() -> io::Result<OwnedFd> {
    let stderr = rustix::io::dup(stdio::stderr())?;
    stdio::dup2_stderr(OpenOptions::new().write(true).open("/dev/null")?)?;
    Ok(stderr)
}

fn unmute(stderr: &OwnedFd) {
    // Where that fails there is nobody to tell.
    let _ = stdio::dup2_stderr(stderr);
}

/// What people do at the terminal, read by a thread of its own, which ends with the process. Where nothing
/// can be read, none comes.
pub(super) fn events() -> mpsc::UnboundedReceiver<Event> {
    let (sender, events) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    events
}
