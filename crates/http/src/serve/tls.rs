//! TLS before HTTP: a chain of certificates and its key, from files, and the handshake. HTTP/1.1 for all who take it, HTTP/2 for gRPC.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::stream::Paced;

const HTTP2: &[u8] = b"h2";

/// Whether that was agreed on.
pub fn is_http2(stream: &TlsStream<Paced>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// Of a certificate's text and its key's. A message repeats nothing of either.
pub fn acceptor(texts: &[Vec<u8>]) -> Result<TlsAcceptor, String> {
    let [cert, key] = texts else { return Err("a certificate and its key are two files".to_owned()) };
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain =
        chain.ok_or_else(|| "cert has no certificate: PEM is expected, -----BEGIN CERTIFICATE-----".to_owned())?;
    let key = PrivateKeyDer::from_pem_slice(key);
    let key = key.map_err(|_| {
        "key has no private key: PEM is expected, -----BEGIN PRIVATE KEY-----, without a passphrase".to_owned()
    })?;
    let config =
        ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let config = config.and_then(|config| config.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| format!("certificate and key cannot be used together: {error}"))?;
    // The first that the client has, too: browsers have both, and libraries of gRPC offer the second alone.
    config.alpn_protocols = vec![b"http/1.1".to_vec(), HTTP2.to_vec()];
    Ok(Arc::new(config).into())
}

/// `None`: whoever is there speaks no TLS, or none that goes with ours. Waits as long as they do.
pub async fn accept(acceptor: &TlsAcceptor, mut stream: TcpStream) -> Option<TlsStream<Paced>> {
    let mut first = [0];
    // The first byte of a handshake is no letter, and that of a request is one.
    match stream.peek(&mut first).await {
        Ok(1) if first[0].is_ascii_alphabetic() => {
            refuse_plain(&mut stream).await;
            return None;
        }
        Ok(1) => {}
        Ok(_) | Err(_) => return None,
    }
    match acceptor.accept(Paced::new(stream)).await {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
    }
}

const PLAIN: &str = r#"{"error":{"code":"https","message":"this port speaks TLS: ask it by https://","field":null}}"#;

async fn refuse_plain(stream: &mut TcpStream) {
    // Of bytes that are not read the kernel would make a reset, which may overtake the answer.
    let _ = stream.read(&mut [0; 4096]).await;
    let head = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length:";
    // Who is gone needs no answer.
    let _ = stream.write_all(format!("{head} {}\r\n\r\n{PLAIN}", PLAIN.len()).as_bytes()).await;
    let _ = stream.shutdown().await;
}
