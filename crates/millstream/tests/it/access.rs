//! Who may reach a server, by the real binary: keys, and TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use crate::common::{Bench, PATIENCE, Served, finish, until};

const BATCHES: &str = "[batch]\nrows = 100\n";

/// The key and the line of `keys new`.
pub fn new_key(bench: &Bench, arguments: &[&str]) -> (String, String) {
    let output = bench.output(&[&["keys", "new"], arguments].concat());
    assert!(output.status.success(), "{}", finish(&output).1);
    let text = String::from_utf8_lossy(&output.stdout);
    let (key, line) = text.trim_end().split_once('\n').unwrap();
    assert!(!finish(&output).1.contains(key), "it stands on stdout alone");
    (key.to_owned(), line.to_owned())
}

fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}\r\n")
}

#[test]
fn keys_open_what_their_scopes_say_and_are_taken_away_while_the_server_goes_on() {
    let bench =
        Bench::new(300, &format!("serve.keys = \"keys.txt\"\nserve.read = \"keys\"\nserve.concurrency = 1\n{BATCHES}"));
    let (reader, reads) = new_key(&bench, &["shop", "--scope", "read", "--rate", "1000"]);
    let (asker, asks) = new_key(&bench, &["analyst", "--scope", "read,query"]);
    assert!(
        reads.starts_with("shop read sha256:")
            && reads.ends_with(" rate=1000")
            && asks.starts_with("analyst read,query ")
    );
    // Without the file it does not start, and `check` says the same.
    for command in ["run", "check"] {
        let (code, said) = finish(&bench.output(&[command, "test.toml"]));
        assert_eq!((code, said.trim()), (78, "test.toml: serve.keys: keys.txt is not there"));
    }
    std::fs::write(bench.path("keys.txt"), format!("{reads}\n{asks}\n")).unwrap();
    let mut serving = bench.serve(&[]);
    let status = |key: &str, (method, path): (&str, &str), body: Option<&str>| {
        let header = if key.is_empty() { String::new() } else { bearer(key) };
        serving.request_with(method, path, &header, body).status
    };
    let list = ("GET", "/v1/batches");
    assert_eq!(["", &reader, &asker].map(|key| status(key, list, None)), [401, 200, 200]);
    assert_eq!(
        ["/livez", "/readyz", "/healthz", "/metrics"].map(|path| status("", ("GET", path), None)),
        [200, 200, 200, 401]
    );
    let sql = Some(r#"{"sql":"select 1 as one"}"#);
    let query = |key: &str| status(key, ("POST", "/v1/query"), sql);
    // What it asks of may still be read.
    until("a query is answered", || (query(&asker) == 200).then_some(()));
    assert_eq!(["", &reader].map(query), [401, 403], "from this machine, too");
    // A revoked key, a broken file and a deleted one.
    std::fs::write(bench.path("keys.txt"), &asks).unwrap();
    until("the key is taken away", || (status(&reader, list, None) == 401).then_some(()));
    assert_eq!(status(&asker, list, None), 200);
    let problem = |word: &str| {
        until(word, || {
            serving.request_with("GET", "/healthz", &bearer(&asker), None).text.contains(word).then_some(())
        });
        assert_eq!(status(&asker, list, None), 200, "{word}");
    };
    std::fs::write(bench.path("keys.txt"), format!("{reads}\n{asker} oops\n")).unwrap();
    problem("line 2: must be a name");
    std::fs::remove_file(bench.path("keys.txt")).unwrap();
    problem("keys.txt is not there");
    std::fs::write(bench.path("keys.txt"), format!("{reads}\n{asks}\n")).unwrap();
    until("both are back", || (status(&reader, list, None) == 200).then_some(()));
    let pages = ["/v1/status", "/docs", "/page/pipeline", "/healthz"];
    let shown: String = pages.map(|path| serving.request_with("GET", path, &bearer(&asker), None).text).concat();
    serving.wait_for("over: serve.keys");
    for secret in [&reader, &asker] {
        assert!(!shown.contains(&secret[3..]) && !serving.said.contains(&secret[3..]));
    }
}

#[test]
fn a_server_that_others_reach_needs_keys_or_the_word_that_it_is_open() {
    let bench = Bench::new(300, BATCHES);
    let listen = ["--set", "serve.listen=0.0.0.0:0"];
    for command in ["check", "run"] {
        let (code, said) = finish(&bench.output(&[&[command, "test.toml"], &listen[..]].concat()));
        assert!(
            code == 78 && said.contains("serve.keys = \"keys.txt\"") && said.contains("serve.open = true"),
            "{said}"
        );
    }
    bench.run_well(&[&listen[..], &["--set", "serve.open=true"]].concat());
    std::fs::write(bench.path("keys.txt"), "").unwrap();
    bench.run_well(&[&listen[..], &["--set", "serve.keys=keys.txt"]].concat());
}

/// A certificate for this machine, and its key.
fn certificate(bench: &Bench, name: &str) {
    let config = "[req]\ndistinguished_name = name\nx509_extensions = own\nprompt = no\n[name]\nCN = localhost\n\
        [own]\nsubjectAltName = DNS:localhost,IP:127.0.0.1\nbasicConstraints = critical,CA:FALSE\n";
    std::fs::write(bench.path("openssl.cnf"), config).unwrap();
    let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let (cert, key) = (format!("{name}.cert"), format!("{name}.key"));
    let files = ["-config", "openssl.cnf", "-keyout", &key, "-out", &cert];
    let made = Command::new("openssl").args(request).args(files).current_dir(bench.folder.path()).output();
    let made = made.expect("this test needs openssl (Debian: apt-get install openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// As whoever renews certificates does it: one file after the other.
fn install(bench: &Bench, name: &str) {
    for kind in ["key", "cert"] {
        let new = bench.path(&format!("new.{kind}"));
        std::fs::copy(bench.path(&format!("{name}.{kind}")), &new).unwrap();
        std::fs::rename(&new, bench.path(&format!("{kind}.pem"))).unwrap();
    }
}

pub fn trusting(certificates: &[&Path]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for path in certificates {
        roots.add(CertificateDer::from_pem_file(path).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// The answer, and the certificate by which it came.
fn ask(config: &Arc<ClientConfig>, address: &str, host: &str, path: &str) -> Result<(String, Vec<u8>), String> {
    let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
    let mut connection = ClientConnection::new(config.clone(), name).map_err(|error| error.to_string())?;
    let mut socket = TcpStream::connect(address).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let mut stream = Stream::new(&mut connection, &mut socket);
    let mut answer = String::new();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let asked = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    asked.map_err(|error| format!("{error}; {answer}"))?;
    let shown = connection.peer_certificates().and_then(|chain| chain.first()).map(|cert| cert.to_vec());
    Ok((answer, shown.unwrap_or_default()))
}

pub fn served_by_tls() -> (Bench, Served) {
    let files = "serve.tls = { cert = \"cert.pem\", key = \"key.pem\" }\n";
    let bench = Bench::new(300, &format!("serve.hosts = [\"models.example\"]\n{files}{BATCHES}"));
    ["first", "second"].iter().for_each(|name| certificate(&bench, name));
    install(&bench, "first");
    // A hundred descriptors or so are left for connections.
    let limited = "ulimit -n 256 && exec \"$0\" run test.toml";
    let served = bench.serving_by("sh", &["-c", limited, env!("CARGO_BIN_EXE_millstream")]);
    (bench, served)
}

#[test]
fn a_certificate_is_replaced_under_load_without_a_failed_request() {
    let (bench, served) = served_by_tls();
    let paths = ["first.cert", "second.cert"].map(|name| bench.path(name));
    let config = trusting(&[&paths[0], &paths[1]]);
    let certs = paths.each_ref().map(|path| CertificateDer::from_pem_file(path).unwrap().to_vec());
    let (done, n_answers) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (answer, _) = ask(&config, &served.address, "localhost", "/v1/status").unwrap();
                    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                    n_answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let shown = || ask(&config, &served.address, "localhost", "/livez").unwrap().1;
        let problem = |word: &str| {
            until(word, || {
                ask(&config, &served.address, "localhost", "/healthz").unwrap().0.contains(word).then_some(())
            });
        };
        // A panic in here must not leave the others asking.
        let replaced = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert_eq!(shown(), certs[0]);
            std::fs::copy(bench.path("second.key"), bench.path("key.pem")).unwrap();
            problem("certificate and key cannot be used together");
            assert_eq!(shown(), certs[0], "a pair that is none leaves the old one");
            install(&bench, "second");
            until("the new one", || (shown() == certs[1]).then_some(()));
            std::fs::write(bench.path("key.pem"), "-----BEGIN hunter2").unwrap();
            problem("key has no private key");
            assert_eq!(shown(), certs[1]);
            let told = ask(&config, &served.address, "localhost", "/v1/status").unwrap().0;
            assert!(!told.contains("hunter2"), "{told}");
        }));
        done.store(true, Ordering::Relaxed);
        replaced.unwrap();
    });
    assert!(n_answers.load(Ordering::Relaxed) > 20);
    let strange = trusting(&[&paths[0]]);
    assert!(ask(&strange, &served.address, "localhost", "/livez").is_err(), "the old one is gone");
}

#[test]
fn whoever_speaks_no_tls_is_told_so_and_whoever_says_nothing_keeps_nobody_waiting() {
    let (bench, served) = served_by_tls();
    let config = trusting(&[&bench.path("first.cert")]);
    let answer = served.get("/v1/status");
    assert!(answer.status == 400 && answer.text.contains("this port speaks TLS"), "{}", answer.text);
    // More than there are places: silence, half a handshake, and garbage.
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc];
    let mut silent: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(&served.address).unwrap()).collect();
    for (index, stream) in silent.iter_mut().enumerate() {
        // Those that had to go already do not matter.
        let _ = match index % 3 {
            0 => Ok(()),
            1 => stream.write_all(&hello),
            _ => stream.write_all(&[0x16; 600]),
        };
    }
    for path in ["/livez", "/v1/status"] {
        let is_good = |(answer, _): &(String, Vec<u8>)| answer.starts_with("HTTP/1.1 200");
        let (answer, _) = until(path, || ask(&config, &served.address, "localhost", path).ok().filter(is_good));
        assert!(!answer.contains("strict-transport-security"), "localhost is everybody's");
    }
    let (named, _) = ask(&config, &served.address, "models.example", "/livez").unwrap();
    assert!(named.contains("strict-transport-security: max-age="), "{named}");
    let mut quiet = TcpStream::connect(&served.address).unwrap();
    quiet.set_read_timeout(Some(PATIENCE)).unwrap();
    quiet.write_all(&hello).unwrap();
    let begun = Instant::now();
    // An alert, an end or a reset.
    let _ = quiet.read(&mut [0; 16]);
    assert!(begun.elapsed() < PATIENCE / 2, "a handshake without an end is ended");
}
