//! A host: a small HTTP service over a store, as one would run it.
//!
//! ```text
//! cargo run --release --example service -- DIR [ADDRESS]
//!
//! PUT    /records/KEY     the body is the value; the version comes back
//! GET    /records/KEY     200 with the value, or 404
//! DELETE /records/KEY     204, or 404
//! GET    /health          200 {"health":"ok"}, or 503 and why: for a load balancer
//! GET    /stats           every figure, as JSON
//! GET    /metrics         the same for Prometheus, with latencies
//!
//! brindle top DIR         the same for a person, live: it is published in DIR/top.json
//! ```
//!
//! SIGTERM and Ctrl-C end it in order: no new connection, the open ones are served to their end,
//! the store is closed, and so durable as a whole. A second start finds every record again.

#![expect(clippy::expect_used, reason = "a host without signals cannot be ended in order")]
#![expect(clippy::wildcard_enum_match_arm, reason = "what is not known to be more is a 503")]
#![expect(clippy::print_stdout, reason = "where it listens is what a caller asks for")]

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use brindle::{Config, Error, Health, Store};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::error::Error as StdError;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// What every request has at hand. A [`Store`] is a handle: clones are the same store.
#[derive(Clone)]
struct Host {
    store: Store,
    prometheus: PrometheusHandle,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: service DIR [ADDRESS]";
    let dir = arguments.next().ok_or(usage)?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());

    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let config = Config::new().data_size(256 << 20).shadow_dir(&dir);
    // Opening reads the whole shadow: not on a thread that serves.
    let store = tokio::task::spawn_blocking(|| Store::open(config)).await??;
    // Every call: beside that of a request, the price of measuring it is nothing.
    store.sample_latencies("records", 1);
    store.publish_top(std::path::Path::new(&dir).join("top.json"))?;

    let host = Host { store: store.clone(), prometheus };
    let router = Router::new()
        .route("/records/{key}", get(read).put(write).delete(delete))
        .route("/health", get(health))
        .route("/stats", get(stats))
        .route("/metrics", get(metrics))
        // The store says what is too long for it.
        .layer(DefaultBodyLimit::max(16 << 20))
        .with_state(host);
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, router).with_graceful_shutdown(told_to_end()).await?;

    // Waits until all is durable, up to `close_deadline`; says so if it is not.
    tokio::task::spawn_blocking(move || store.close()).await??;
    println!("closed");
    Ok(())
}

async fn told_to_end() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be waited for");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// A get takes less than a microsecond and waits for nothing: it may run where requests are served.
/// The record must not be kept across an `await`, and cannot be: it is not `Send`.
async fn read(State(host): State<Host>, Path(key): Path<String>) -> Response {
    match host.store.get(&key) {
        Some(record) => record.to_vec().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A put may wait for room, up to `overload_wait`: it runs where threads may wait.
async fn write(State(host): State<Host>, Path(key): Path<String>, value: Bytes) -> Response {
    let put = tokio::task::spawn_blocking(move || host.store.put(&key, &value)).await;
    match put {
        Ok(Ok(version)) => u64::from(version).to_string().into_response(),
        Ok(Err(error)) => refused(&error),
        Err(panicked) => internal(&panicked),
    }
}

async fn delete(State(host): State<Host>, Path(key): Path<String>) -> Response {
    match tokio::task::spawn_blocking(move || host.store.delete(&key)).await {
        Ok(Ok(true)) => StatusCode::NO_CONTENT.into_response(),
        Ok(Ok(false)) => StatusCode::NOT_FOUND.into_response(),
        Ok(Err(error)) => refused(&error),
        Err(panicked) => internal(&panicked),
    }
}

/// What the client can do about it is in the status: mend the request, or come again.
fn refused(error: &Error) -> Response {
    let status = match error {
        Error::EmptyKey | Error::KeyTooLong => StatusCode::BAD_REQUEST,
        Error::RecordTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::StopWrites { .. } | Error::OutOfSpace => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string()).into_response()
}

fn internal(error: &dyn StdError) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
}

/// A loss that the cold start found is for an operator, and no reason to send traffic elsewhere; a
/// shadow that takes no writes is.
async fn health(State(host): State<Host>) -> Response {
    let health = host.store.health();
    let is_fit = matches!(health, Health::Ok | Health::DataLoss { .. });
    let status = if is_fit { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, serde_json::to_string(&health))
}

async fn stats(State(host): State<Host>) -> Response {
    json(StatusCode::OK, serde_json::to_string(&host.store.stats()))
}

async fn metrics(State(host): State<Host>) -> Response {
    host.store.publish_metrics("records");
    host.prometheus.run_upkeep();
    host.prometheus.render().into_response()
}

fn json(status: StatusCode, text: serde_json::Result<String>) -> Response {
    match text {
        Ok(text) => (status, [("content-type", "application/json")], text).into_response(),
        Err(error) => internal(&error),
    }
}
