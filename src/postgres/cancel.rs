//! The request to cancel what a session does, over a connection of its own.
//!
//! The other side closes that connection once it has handled the request, and says nothing else
//! (PostgreSQL's "Canceling Requests in Progress"). It is waited for, as libpq does: a request that is still
//! under way could strike what comes next, and PgBouncer 1.18 ends itself when a client goes before its
//! answer (pgbouncer/pgbouncer#801).

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_postgres::config::{Config, Host};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where a session's server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { name: String, address: Option<IpAddr>, port: u16 },
    Unix(PathBuf),
}

impl Place {
    /// The one host of a configuration; none where it has no host.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let port = config.get_ports().first().copied().unwrap_or(5432);
        Some(match config.get_hosts().first()? {
            Host::Tcp(name) => {
                Self::Tcp { name: name.clone(), address: config.get_hostaddrs().first().copied(), port }
            }
            Host::Unix(folder) => Self::Unix(folder.join(format!(".s.PGSQL.{port}"))),
        })
    }

    /// Sends the request, with TLS where the session has it, and waits until it is handled. A name that has
    /// several addresses is asked at each: only the server that gave the key knows it.
    pub(super) async fn cancel(&self, token: &CancelToken, tls: &MakeRustlsConnect) {
        match self {
            Self::Unix(path) => {
                if let Ok(stream) = UnixStream::connect(path).await {
                    let _ = send(token, stream, tls, "localhost").await;
                }
            }
            Self::Tcp { name, address: Some(address), port } => {
                at(token, tls, name, (*address, *port).into()).await;
            }
            Self::Tcp { name, address: None, port } => {
                if let Ok(addresses) = lookup_host((name.as_str(), *port)).await {
                    let all = addresses.map(|address| at(token, tls, name, address));
                    futures_util::future::join_all(all).await;
                }
            }
        }
    }
}

async fn at(token: &CancelToken, tls: &MakeRustlsConnect, name: &str, address: std::net::SocketAddr) {
    if let Ok(stream) = TcpStream::connect(address).await {
        let _ = send(token, stream, tls, name).await;
    }
}

async fn send<S, T>(token: &CancelToken, stream: S, tls: &T, name: &str) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: MakeTlsConnect<Patient<S>> + Clone,
    <T::TlsConnect as TlsConnect<Patient<S>>>::Future: Send + 'static,
{
    let Ok(tls) = tls.clone().make_tls_connect(name) else { return Ok(()) };
    token.cancel_query_raw(Patient(stream), PatientTls(tls)).await
}

/// A stream whose end is the other side's: shutting it down waits until nothing more comes.
struct Patient<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 64];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Pin::new(&mut self.0).poll_shutdown(cx);
            }
        }
    }
}

impl<S: TlsStream + Unpin> TlsStream for Patient<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.0.channel_binding()
    }
}

/// Makes streams of TLS that wait, too: their own farewell would be an answer that comes too early.
struct PatientTls<T>(T);

type Connecting<S, E> = Pin<Box<dyn Future<Output = Result<Patient<S>, E>> + Send>>;

impl<S, T> TlsConnect<S> for PatientTls<T>
where
    T: TlsConnect<S>,
    T::Future: Send + 'static,
{
    type Stream = Patient<T::Stream>;
    type Error = T::Error;
    type Future = Connecting<T::Stream, T::Error>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.0.connect(stream);
        Box::pin(async move { connecting.await.map(Patient) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn an_end_waits_for_the_other_side() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = Patient(ours);
        ours.write_all(b"cancel").await.unwrap();
        let mut end = std::pin::pin!(ours.shutdown());
        theirs.read_exact(&mut [0; 6]).await.unwrap();
        assert!(futures_util::poll!(end.as_mut()).is_pending());
        theirs.write_all(b"a word that nobody asked for").await.unwrap();
        assert!(futures_util::poll!(end.as_mut()).is_pending());
        drop(theirs);
        end.await.unwrap();
    }

    #[test]
    fn a_place_is_where_the_session_is() {
        let mut config = Config::new();
        assert_eq!(Place::of(&config), None);
        config.host("db.example").hostaddr([127, 0, 0, 1].into()).port(6432);
        let (name, address) = ("db.example".to_owned(), Some([127, 0, 0, 1].into()));
        assert_eq!(Place::of(&config), Some(Place::Tcp { name, address, port: 6432 }));
        let mut config = Config::new();
        config.host_path("/run/postgresql");
        assert_eq!(Place::of(&config), Some(Place::Unix("/run/postgresql/.s.PGSQL.5432".into())));
    }
}
