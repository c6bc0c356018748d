//! Connections: how many, and how long each may take for what it does.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep, timeout};

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At once.
    pub connections: usize,
    /// At once from one address that is not this machine's.
    pub per_address: usize,
    /// Until all headers are there.
    pub headers: Duration,
    /// Until a reader that has stopped reading is cut off.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_address: 256,
            headers: Duration::from_secs(10),
            stalled: Duration::from_secs(30),
        }
    }
}

/// Bytes of all headers together.
const HEADERS: usize = 64 << 10;

/// Answers whoever connects until `stop`, then whoever is being answered, for at most `drain` or until `hurry`.
pub async fn listen(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
    (drain, hurry): (Duration, impl Future<Output = ()>),
) {
    let (places, graceful) =
        (Arc::new(Semaphore::new(limits.connections)), GracefulShutdown::new());
    let addresses = Addresses::default();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, address, place) = accepted;
        // One address does not take all places; it sees its connection end. This machine's own may be a balancer's.
        let most = if address.is_loopback() { limits.connections } else { limits.per_address };
        let Some(turn) = addresses.enter(address, most) else { continue };
        let service = router.clone().layer(axum::Extension(ConnectInfo(address)));
        let io = TokioIo::new(Stalling { stream, limit: limits.stalled, since: None });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(limits.headers).max_buf_size(HEADERS);
        let connection = builder.serve_connection(io, TowerToHyperService::new(service));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // Whoever breaks a connection knows it.
            let _ = connection.await;
            drop((turn, place));
        });
    }
    drop(listener);
    let is_drained = tokio::select! {
        drained = timeout(drain, graceful.shutdown()) => drained.is_ok(),
        () = hurry => false,
    };
    if !is_drained {
        log::warn!("some requests were not answered and are broken off");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, IpAddr, Option<tokio::sync::OwnedSemaphorePermit>) {
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Small pieces are to arrive when they are said; without it they arrive later.
                let _ = stream.set_nodelay(true);
                return (stream, peer.ip(), place);
            }
            // No file is free: those that are open will be closed.
            Err(error) => {
                log::warn!("a connection was not taken: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Connections of each address.
#[derive(Clone, Debug, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of them.
struct Turn {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    fn enter(&self, address: IpAddr, most: usize) -> Option<Turn> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Turn { addresses: self.clone(), address })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A stream whose writes fail when its reader has read nothing for a while.
struct Stalling {
    stream: TcpStream,
    limit: Duration,
    /// Ends when a write has waited for too long.
    since: Option<Pin<Box<Sleep>>>,
}

impl Stalling {
    fn watched<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.since = None;
            return polled;
        }
        let limit = self.limit;
        let since = self.since.get_or_insert_with(|| Box::pin(sleep(limit)));
        match since.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Stalling {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stalling {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(polled, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.watched(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
