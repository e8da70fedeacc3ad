//! `status --watch` on a terminal: a screen that is drawn from the last look while the next one is made,
//! however long that takes.

mod draw;
mod rates;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{Event, KeyEventKind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::terminal::{Screen, events};
use self::view::{View, Wish};
use super::look::Looker;
use super::report::StatusReport;
use super::report_of;
use crate::cli::exit::{Exit, Failure};

/// The screen is drawn anew at least so often: it tells how old it is.
const TICK: Duration = Duration::from_secs(1);

/// A look that takes longer is given up, and another one begins on new connections.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// What a look came to.
type Looked = Result<StatusReport, String>;

/// Shows the screen until a key or a signal ends it. `pause` lies between two looks.
pub(super) async fn show(mut looker: Looker, pause: Duration) -> Result<Exit, Failure> {
    let first = report_of(&mut looker).await?;
    let began = Instant::now();
    let view = View::new(first, 0, pause.as_secs(), console::colors_enabled());
    let screen = Screen::take().map_err(|error| Failure::failed(error).context("can't take the terminal"))?;
    let (looked_in, looked) = mpsc::channel(1);
    let (wish_in, wishes) = watch::channel(());
    tokio::select! {
        ended = follow(screen, view, began, looked, wish_in) => ended,
        () = look_again(looker, pause, looked_in, wishes) => Ok(Exit::Done),
    }
}

/// Looks again and again, and sooner where that is wished for.
async fn look_again(
    mut looker: Looker,
    pause: Duration,
    looked: mpsc::Sender<Looked>,
    mut wishes: watch::Receiver<()>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            wish = wishes.changed() => if wish.is_err() { return },
        }
        let look = tokio::time::timeout(LOOK_LIMIT, report_of(&mut looker)).await;
        let look = match look {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(failure)) => Err(failure.to_string()),
            Err(_) => Err(format!("no answer within {LOOK_LIMIT:?}")),
        };
        if looked.send(look).await.is_err() {
            return;
        }
    }
}

async fn follow(
    mut screen: Screen,
    mut view: View,
    began: Instant,
    mut looked: mpsc::Receiver<Looked>,
    wishes: watch::Sender<()>,
) -> Result<Exit, Failure> {
    let mut events = events();
    let mut tick = tokio::time::interval(TICK);
    let now_ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let [mut interrupt, mut terminate, mut hangup] = signals()?;
    loop {
        let drawn = screen.terminal.draw(|frame| draw::draw(frame, &mut view, now_ms()));
        drawn.map_err(|error| Failure::failed(error).context("can't draw on the terminal"))?;
        tokio::select! {
            Some(look) = looked.recv() => view.renew(look, now_ms()),
            Some(event) = events.recv() => match wish(&mut view, event) {
                // The size is asked for at each drawing.
                Wish::Stay => {}
                Wish::Look => wishes.send_modify(|()| ()),
                Wish::Quit => return Ok(Exit::Done),
                Wish::Interrupt => return Ok(Exit::Interrupted),
            },
            _ = interrupt.recv() => return Ok(Exit::Interrupted),
            _ = terminate.recv() => return Ok(Exit::Interrupted),
            _ = hangup.recv() => return Ok(Exit::Interrupted),
            _ = tick.tick() => {}
        }
    }
}

fn wish(view: &mut View, event: Event) -> Wish {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => view.press(key),
        _ => Wish::Stay,
    }
}

fn signals() -> Result<[Signal; 3], Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::failed(error).context("can't listen for signals"));
    Ok([listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?])
}
