//! Threads that wait for the next loop: handing them one costs a microsecond, not tens.
//!
//! A training step or a token is hundreds of short loops, one after the other. A worker watches for
//! the next one for a moment before it sleeps, and the caller takes tasks like everybody else; it
//! never waits for a worker that has not come by the time the last task is taken.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;

/// Looks at the state before a worker sleeps: some 50 microseconds.
const LOOKS: usize = 1_500;

/// Looks of a caller before it lets others run: a worker's last task may be long.
const PATIENCE: usize = 10_000;

/// Threads that a loop has at most: what its state can count.
const MOST: usize = 1 << 10;

/// On its own cache line: what one thread writes must not slow down what others read.
#[repr(align(128))]
struct Line<T>(T);

/// A loop: `task(0..n)`.
#[derive(Clone, Copy)]
struct Loop {
    task: *const (dyn Fn(usize) + Sync),
    n: usize,
}

/// In [`Pool::state`]: that the loop can be joined.
const OPEN: u64 = 1;
/// A worker in the loop.
const ACTIVE: u64 = 1 << 1;
/// Room for another.
const SEAT: u64 = 1 << 16;
/// The number of the loop.
const LOOP: u64 = 1 << 32;

struct Pool {
    /// Held by the caller whose loop runs.
    taken: Line<AtomicBool>,
    state: Line<AtomicU64>,
    /// The next task of the loop.
    next: Line<AtomicUsize>,
    asleep: Line<AtomicUsize>,
    /// Written by the caller while the state is not open and nobody active, read by those who joined.
    current: UnsafeCell<Option<Loop>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    workers: Mutex<Vec<Thread>>,
}

// SAFETY: `current` is written and read as its comment says; the rest is made for it.
unsafe impl Sync for Pool {}

/// Runs `task(0..n)`, each once, on this thread and those that help it. Inside of another loop, or
/// beside one of another thread, on this thread alone.
pub(super) fn run(n: usize, task: &(dyn Fn(usize) + Sync)) {
    static POOL: Pool = Pool::new();
    // One setting for all: whoever sets rayon's number of threads sets ours.
    let helpers = rayon::current_num_threads().min(n).min(MOST).saturating_sub(1);
    if helpers == 0 || POOL.taken.0.swap(true, Ordering::Acquire) {
        return (0..n).for_each(task);
    }
    POOL.run(n, helpers, task);
}

impl Pool {
    const fn new() -> Self {
        Self {
            taken: Line(AtomicBool::new(false)),
            state: Line(AtomicU64::new(0)),
            next: Line(AtomicUsize::new(0)),
            asleep: Line(AtomicUsize::new(0)),
            current: UnsafeCell::new(None),
            panic: Mutex::new(None),
            workers: Mutex::new(Vec::new()),
        }
    }

    /// Only for who has `taken` the pool; gives it back.
    fn run(&'static self, n: usize, helpers: usize, task: &(dyn Fn(usize) + Sync)) {
        self.hire(helpers);
        // SAFETY: only the lifetime changes. Who reads the loop has joined it, and `close` below
        // returns when all of them have left; until then `task` is borrowed.
        let task = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync)>(
                task,
            )
        };
        let current = Loop { task, n };
        // SAFETY: the last loop was closed, so nobody reads.
        unsafe { *self.current.get() = Some(current) };
        self.next.0.store(0, Ordering::Relaxed);
        // Begins anew after four billion loops.
        let number = (self.state.0.load(Ordering::Relaxed) / LOOP + 1).wrapping_mul(LOOP);
        self.state.0.store(number + helpers as u64 * SEAT + OPEN, Ordering::SeqCst);
        // A worker counts itself as asleep before it looks at the state for the last time.
        fence(Ordering::SeqCst);
        if self.asleep.0.load(Ordering::Relaxed) > 0 {
            self.workers().iter().take(helpers).for_each(Thread::unpark);
        }
        self.work(current);
        self.close();
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.taken.0.store(false, Ordering::Release);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Takes tasks until there are none left. A panic ends the loop, for everybody.
    fn work(&self, Loop { task, n, .. }: Loop) {
        // SAFETY: borrowed by the caller, who waits for all who joined.
        let task = unsafe { &*task };
        let tasks = || {
            loop {
                let i = self.next.0.fetch_add(1, Ordering::Relaxed);
                if i >= n {
                    return;
                }
                task(i);
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(tasks)) {
            self.next.0.store(n, Ordering::Relaxed);
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
    }

    /// Lets nobody in any more and waits for those who are.
    fn close(&self) {
        self.state.0.fetch_and(!OPEN, Ordering::Acquire);
        for look in 0_usize.. {
            if self.state.0.load(Ordering::Acquire) % SEAT / ACTIVE == 0 {
                return;
            }
            if look < PATIENCE { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }

    /// Sees to it that there are `n` workers.
    fn hire(&'static self, n: usize) {
        let mut workers = self.workers();
        while workers.len() < n {
            let name = format!("kernels-{}", workers.len());
            let worker = std::thread::Builder::new().name(name).spawn(|| self.serve());
            match worker {
                Ok(worker) => workers.push(worker.thread().clone()),
                // The caller does it alone.
                Err(_) => return,
            }
        }
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<Thread>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life.
    fn serve(&self) {
        let mut last = 0;
        loop {
            let state = self.wait(last);
            last = state / LOOP;
            // SAFETY: we joined, so the caller neither writes this nor returns.
            if let Some(current) = unsafe { *self.current.get() } {
                self.work(current);
            }
            self.state.0.fetch_sub(ACTIVE, Ordering::Release);
        }
    }

    /// Joins the first loop after number `last`, asleep if it does not come soon.
    fn wait(&self, last: u64) -> u64 {
        loop {
            for _ in 0..LOOKS {
                if let Some(state) = self.join(last) {
                    return state;
                }
                std::hint::spin_loop();
            }
            self.asleep.0.fetch_add(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let joined = self.join(last);
            if joined.is_none() {
                std::thread::park();
            }
            self.asleep.0.fetch_sub(1, Ordering::SeqCst);
            if let Some(state) = joined {
                return state;
            }
        }
    }

    /// Joins the loop that runs, if it is a later one than `last` and has room.
    fn join(&self, last: u64) -> Option<u64> {
        let state = self.state.0.load(Ordering::Relaxed);
        if state & OPEN == 0 || state / LOOP == last || state % LOOP < SEAT {
            return None;
        }
        let joined = state + ACTIVE - SEAT;
        self.state.0.compare_exchange(state, joined, Ordering::Acquire, Ordering::Relaxed).ok()
    }
}
