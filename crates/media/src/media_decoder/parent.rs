//! The parent's side: children, their clock, and what became of those that gave no answer.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::wire::{self, Job, MAX_PIECE, Piece, Request, Seen, Size, Task, Wanted};
use super::{ChildError, Limits, system};
use crate::picture::{MAX_PIXELS, Picture};
use crate::video::{Frame, Sampling, Video};
use crate::{Result, SoundError, Table};

/// Pictures of one child, after which another takes its place: none has long to gather what strangers
/// left in it.
const PICTURES: u32 = 256;

/// Variables that a program may need to start; others may hold secrets.
const ENVIRONMENT: [&str; 3] = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SystemRoot"];

/// Most bytes that are read of what a child said before it ended.
const MAX_SAID: u64 = 4096;

/// How children are started, and those that wait for a picture.
#[derive(Debug)]
pub(super) struct Children {
    program: PathBuf,
    args: Vec<String>,
    limits: Limits,
    idle: Mutex<Vec<Process>>,
}

impl Children {
    pub(super) fn new(program: PathBuf, args: Vec<String>, limits: Limits) -> Self {
        Self { program, args, limits, idle: Mutex::default() }
    }

    pub(super) fn picture(&self, bytes: &[u8], origin: &str) -> Result<Picture> {
        let mut frames = self.seen(bytes, origin, Wanted::Picture)?.frames;
        let first = frames.pop().ok_or_else(|| ChildError::Crashed {
            origin: origin.to_owned(),
            reason: "an answer that is none".to_owned(),
        });
        Ok(first?.picture)
    }

    pub(super) fn video(&self, bytes: &[u8], origin: &str, sampling: Sampling) -> Result<Video> {
        self.seen(bytes, origin, Wanted::Video(sampling))
    }

    pub(super) fn table(&self, bytes: &[u8], origin: &str) -> Result<Table> {
        self.asked(bytes, origin, Wanted::Table, |pipes| wire::receive_table(&mut pipes.output))
    }

    /// The frames of a video that are asked for, or a picture, as a video of one frame.
    fn seen(&self, bytes: &[u8], origin: &str, wanted: Wanted) -> Result<Video> {
        self.asked(bytes, origin, wanted, Pipes::video)
    }

    /// What a child, once it has the file, is heard to `answer`.
    fn asked<T>(
        &self,
        bytes: &[u8],
        origin: &str,
        wanted: Wanted,
        answer: impl FnOnce(&mut Pipes) -> io::Result<Result<T>>,
    ) -> Result<T> {
        let mut process = self.take(origin)?;
        let request = Request { origin: origin.to_owned(), bytes: bytes.len(), wanted };
        let answer = process.answer(origin, |pipes| {
            let input = pipes.input.as_mut().ok_or(ErrorKind::BrokenPipe)?;
            wire::send(input, &request)?;
            input.write_all(bytes)?;
            answer(pipes)
        })?;
        process.pictures += 1;
        if process.pictures < PICTURES {
            self.idle().push(process);
        }
        answer
    }

    pub(super) fn sound(
        &self,
        origin: String,
        file: File,
        rate: u32,
    ) -> std::result::Result<ChildSound, ChildError> {
        let task = Task::Sound { origin: origin.clone(), rate };
        let process = self.start(task, file.into(), &origin)?;
        Ok(ChildSound { process, origin, ended: false, warning: None })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Process>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A child that waits, or a new one. Those that ended meanwhile are no picture's fault.
    fn take(&self, origin: &str) -> std::result::Result<Process, ChildError> {
        while let Some(mut process) = self.idle().pop() {
            if matches!(process.child.try_wait(), Ok(None)) {
                return Ok(process);
            }
        }
        self.start(Task::Pictures, Stdio::piped(), origin)
    }

    fn start(
        &self,
        task: Task,
        input: Stdio,
        origin: &str,
    ) -> std::result::Result<Process, ChildError> {
        let limits = self.limits;
        let start = || {
            let job = serde_json::to_string(&Job { limits, task })?;
            let environment =
                ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
            let mut child = Command::new(&self.program)
                .args(&self.args)
                .arg(job)
                .env_clear()
                .envs(environment)
                .stdin(input)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let output = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
            let pipes = Pipes { input: child.stdin.take(), output };
            Ok(Process { child, pipes, limits, pictures: 0 })
        };
        start().map_err(|error: io::Error| not_started(origin, &error))
    }
}

fn not_started(origin: &str, error: &io::Error) -> ChildError {
    ChildError::NotStarted { origin: origin.to_owned(), reason: error.to_string() }
}

/// A child. Dropped, it is killed and waited for.
#[derive(Debug)]
struct Process {
    child: Child,
    pipes: Pipes,
    limits: Limits,
    /// How many it decoded.
    pictures: u32,
}

impl Process {
    /// What `ask` reads from the child, which is killed when it takes longer than its clock: whatever
    /// `ask` waits for then ends.
    fn answer<T>(
        &mut self,
        origin: &str,
        ask: impl FnOnce(&mut Pipes) -> io::Result<T>,
    ) -> std::result::Result<T, ChildError> {
        let Self { child, pipes, limits, .. } = &mut *self;
        let (done, waiting) = mpsc::channel::<()>();
        let watch = move || {
            let late = waiting.recv_timeout(limits.clock) == Err(RecvTimeoutError::Timeout);
            if late {
                // One that has ended by itself is late all the same.
                let _ = child.kill();
            }
            late
        };
        let asked = thread::scope(|scope| {
            let watch = thread::Builder::new().spawn_scoped(scope, watch)?;
            let answer = ask(pipes);
            drop(done);
            Ok((answer, watch.join().unwrap_or(false)))
        });
        match asked {
            Ok((Ok(answer), false)) => Ok(answer),
            Ok((answer, late)) => Err(self.end(origin, answer.err(), late)),
            Err(error) => Err(not_started(origin, &error)),
        }
    }

    /// Ends it, and tells why it gave no answer.
    fn end(&mut self, origin: &str, error: Option<io::Error>, late: bool) -> ChildError {
        // A child that has ended keeps the status that it ended with.
        let _ = self.child.kill();
        let status = self.child.wait();
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // What cannot be read tells nothing.
            let _ = stderr.take(MAX_SAID).read_to_end(&mut said);
        }
        let no_memory = String::from_utf8_lossy(&said).contains("memory allocation of");
        let garbage = error.is_some_and(|error| error.kind() == ErrorKind::InvalidData);
        let Limits { memory, cpu, clock } = self.limits;
        let origin = origin.to_owned();
        let limit = match status {
            _ if late => format!("{} s", clock.as_secs_f32()),
            _ if no_memory => format!("{} MiB of memory", memory >> 20),
            Ok(status) if system::is_out_of_time(status) => format!("{cpu} s of processor time"),
            Ok(status) => {
                let reason = match garbage {
                    true => "an answer that is none".to_owned(),
                    false => format!("its end ({status})"),
                };
                return ChildError::Crashed { origin, reason };
            }
            Err(error) => return ChildError::Crashed { origin, reason: error.to_string() },
        };
        ChildError::Limit { origin, limit }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended is not there to be killed; one that is not waited for stays a zombie.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
struct Pipes {
    /// None where it reads a file.
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl Pipes {
    fn video(&mut self) -> io::Result<Result<Video>> {
        let Seen { pictures, duration } = match wire::receive::<Result<Seen>>(&mut self.output)? {
            Ok(seen) => seen,
            Err(error) => return Ok(Err(error)),
        };
        let pixels = |size: &Size| u64::from(size.width) * u64::from(size.height);
        let all = pictures.iter().map(pixels).fold(0, u64::saturating_add);
        if pictures.iter().any(|size| pixels(size) == 0) || !(1..=MAX_PIXELS).contains(&all) {
            return Err(wire::garbage());
        }
        let frames = pictures.into_iter().map(|size| self.frame(size)).collect::<io::Result<_>>();
        Ok(Ok(Video { frames: frames?, duration }))
    }

    fn frame(&mut self, Size { width, height, seconds }: Size) -> io::Result<Frame> {
        let mut pixels = vec![0; width as usize * height as usize * 3];
        self.output.read_exact(&mut pixels)?;
        Ok(Frame { picture: Picture { width, height, pixels }, seconds })
    }

    /// The next samples, or none at the end, where there may be a warning.
    fn piece(
        &mut self,
        warning: &mut Option<String>,
    ) -> io::Result<std::result::Result<Option<Vec<f32>>, SoundError>> {
        let count = match wire::receive(&mut self.output)? {
            Ok(Piece::Samples(count)) if (1..=MAX_PIECE).contains(&count) => count,
            Ok(Piece::Samples(_)) => return Err(wire::garbage()),
            Ok(Piece::End { warning: told }) => {
                *warning = told;
                return Ok(Ok(None));
            }
            Err(error) => return Ok(Err(error)),
        };
        let mut bytes = vec![0; count * 4];
        self.output.read_exact(&mut bytes)?;
        let samples = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let samples: Vec<f32> = samples.collect();
        match samples.iter().all(|sample| sample.is_finite()) {
            true => Ok(Ok(Some(samples))),
            false => Err(wire::garbage()),
        }
    }
}

/// A sound that a child decodes.
pub(super) struct ChildSound {
    process: Process,
    origin: String,
    ended: bool,
    /// As of [`SoundReader`](crate::SoundReader).
    pub(super) warning: Option<String>,
}

impl ChildSound {
    fn piece(&mut self) -> std::result::Result<Option<Vec<f32>>, SoundError> {
        let Self { process, origin, warning, .. } = self;
        process.answer(origin, |pipes| pipes.piece(warning))?
    }
}

impl Iterator for ChildSound {
    type Item = std::result::Result<Vec<f32>, SoundError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let piece = self.piece().transpose();
        self.ended = !matches!(piece, Some(Ok(_)));
        piece
    }
}
