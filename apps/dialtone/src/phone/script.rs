//! A script is carried out.

use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use dialtone_node::now;
use dialtone_node::softphone::{
    Action, Fault, LINE_LEN_MAX, News, Next, PhoneEnd, Script, Softphone, SoftphoneConfig, What,
};

use super::exit_of;
use crate::exit::Exit;
use crate::softphone::{self, Refusal};

/// How often lines of standard input, and the wish to stop, are looked for.
const TICK: Duration = Duration::from_millis(20);
/// Lines of standard input that wait to be done.
const WAITING_MAX: usize = 16;

/// Where the lines come from.
enum Lines {
    /// All of them were read.
    Whole,
    /// They come one by one, while the script runs.
    Coming(Receiver<std::io::Result<String>>),
}

/// How a script came to its end.
enum End {
    Done,
    /// Its owner wanted it to stop.
    Stopped,
    WrongPassword,
    Fault(Fault),
    /// Its lines can't be read.
    Unreadable(std::io::Error),
}

/// Does what the lines of a file say, then ends the phone. A file with a bad line does nothing at all.
pub(super) fn run(
    config: &SoftphoneConfig,
    path: &Path,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(News),
) -> Result<Exit, Refusal> {
    let name = if path.as_os_str() == "-" { "standard input".into() } else { path.display().to_string() };
    let mut script = Script::new(&config.identity.own_domain()?);
    let mut lines = match path.as_os_str() == "-" {
        true => Lines::Coming(standard_input()?),
        false => {
            let bytes = std::fs::read(path);
            let bytes = bytes.map_err(|error| Refusal::new(&format_args!("{name}: {error}"), Exit::Data))?;
            for line in String::from_utf8_lossy(&bytes).lines() {
                let read = script.read(line);
                read.map_err(|fault| Refusal::new(&format_args!("{name}: {fault}"), exit_of_fault(&fault)))?;
            }
            script.end();
            Lines::Whole
        }
    };
    let mut phone = Softphone::start(config)?;
    tell(News::Ready(phone.address()));
    let end = loop {
        match script.next(now()) {
            Err(fault) => break End::Fault(fault),
            Ok(Next::Over | Next::Act(_, Action::Quit)) => break End::Done,
            Ok(Next::Act(line, action)) => match phone.act(&action) {
                Ok(()) => continue,
                Err(why) => break End::Fault(Fault { line, what: What::CannotDo(why) }),
            },
            Ok(Next::Wait(until)) => {
                // Each event by itself, so that what waits for it is done before the next one is looked at.
                if let Some(news) = phone.poll_news() {
                    script.hear(&news);
                    tell(news);
                    continue;
                }
                if phone.has_wrong_password() {
                    break End::WrongPassword;
                }
                if stop.load(Ordering::Relaxed) {
                    break End::Stopped;
                }
                match read(&mut script, &mut lines) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(end) => break end,
                }
                phone.step(until.map_or(TICK, |until| until.since(now()).min(TICK)));
            }
        }
    };
    let closed = phone.close(tell);
    Ok(match end {
        End::Done => exit_of(closed),
        End::WrongPassword => Exit::WrongPassword,
        End::Stopped if closed == PhoneEnd::WrongPassword => Exit::WrongPassword,
        End::Stopped => Exit::Failed,
        End::Fault(fault) => {
            eprintln!("dialtone: {name}: {fault}");
            exit_of_fault(&fault)
        }
        End::Unreadable(error) => {
            eprintln!("dialtone: {name}: {error}");
            Exit::Data
        }
    })
}

/// Reads the next line where the script wants one. Says whether something came.
fn read(script: &mut Script, lines: &mut Lines) -> Result<bool, End> {
    let Lines::Coming(coming) = lines else { return Ok(false) };
    if !script.wants_line() {
        return Ok(false);
    }
    match coming.try_recv() {
        Ok(Ok(line)) => script.read(&line).map_err(End::Fault)?,
        Ok(Err(error)) => return Err(End::Unreadable(error)),
        Err(TryRecvError::Empty) => return Ok(false),
        Err(TryRecvError::Disconnected) => {
            script.end();
            *lines = Lines::Whole;
        }
    }
    Ok(true)
}

/// The lines of standard input; the channel ends with it.
fn standard_input() -> Result<Receiver<std::io::Result<String>>, Refusal> {
    let (to, lines) = sync_channel(WAITING_MAX);
    let thread = std::thread::Builder::new().name("script".into());
    let reading = thread.spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            // One byte more than a line may have, so that one that is too long is seen as such.
            let mut line = Vec::new();
            let read = input.by_ref().take(LINE_LEN_MAX as u64 + 1).read_until(b'\n', &mut line);
            let line = match read {
                Ok(0) => return,
                Ok(_) => Ok(String::from_utf8_lossy(&line).into_owned()),
                Err(error) => Err(error),
            };
            // The script is over, and with it the wish for more lines.
            if to.send(line).is_err() {
                return;
            }
        }
    });
    reading.map_err(|error| Refusal::new(&error, Exit::System))?;
    Ok(lines)
}

/// The exit code for what keeps a script from going on.
fn exit_of_fault(fault: &Fault) -> Exit {
    match &fault.what {
        What::Bad(_) | What::TooLong => Exit::Usage,
        What::Unanswered { verdict, .. } => softphone::exit_of(verdict),
        _ => Exit::Failed,
    }
}
