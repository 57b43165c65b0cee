//! Serving the interface.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long requests may go on after the stop, before their connections are closed.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Serves `router` until `stop` is cancelled, then finishes the requests under way within ten seconds.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "the management interface listens");
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_LIMIT).await;
    };
    tokio::select! {
        result = server => result,
        () = overdue => {
            tracing::warn!("requests were still under way when the management interface stopped");
            Ok(())
        }
    }
}
