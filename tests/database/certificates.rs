//! A PostgreSQL server with TLS, and the files that its clients hold.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lab::keeper::keeper;
use lab::servers::{PgOptions, Postgres};
use lab::sql;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// Roles: `app` as it likes, `secure` over TLS only, `plain` without TLS only, `certified` with its
/// certificate, `pass` with the password `hush`, `rotating` with a password that one test changes.
const HBA: &str = "\
local all all trust
host all postgres,app 127.0.0.1/32 trust
hostssl all secure 127.0.0.1/32 trust
hostnossl all plain 127.0.0.1/32 trust
hostssl all certified 127.0.0.1/32 cert
host all pass,rotating 127.0.0.1/32 scram-sha-256
";

/// The server and its certificates.
pub(crate) struct TlsServer {
    pub(crate) postgres: Postgres,
    folder: PathBuf,
}

/// The server of all tests here; its certificate names `localhost` and is signed by `ca.crt`.
pub(crate) fn tls_server() -> &'static TlsServer {
    static SERVER: OnceLock<TlsServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let postgres = Postgres::start(&PgOptions::default()).expect("a server of our own");
        let folder = keeper().folder("certificates").expect("a temporary folder");
        let server = TlsServer { postgres, folder };
        server.set_up();
        server
    })
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn signed(
    name: &str,
    names: &[&str],
    usage: ExtendedKeyUsagePurpose,
    by: &Issuer<'_, KeyPair>,
) -> (String, String) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

impl TlsServer {
    fn set_up(&self) {
        let (ca, issuer) = authority("lab root");
        let (other, _) = authority("another root");
        let (cert, key) = signed("localhost", &["localhost"], ExtendedKeyUsagePurpose::ServerAuth, &issuer);
        let (client, client_key) = signed("certified", &[], ExtendedKeyUsagePurpose::ClientAuth, &issuer);
        // A server certificate that is its own root, as `openssl req -x509` makes it.
        let mut own = CertificateParams::new(["localhost".to_owned()]).unwrap();
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own_key = KeyPair::generate().unwrap();
        let own_cert = own.self_signed(&own_key).unwrap().pem();
        for (name, text, mode) in [
            ("ca.crt", &ca, 0o644),
            ("other.crt", &other, 0o644),
            ("own.crt", &own_cert, 0o644),
            ("client.crt", &client, 0o644),
            ("client.key", &client_key, 0o600),
            ("loose.key", &client_key, 0o644),
            ("no.key", &client, 0o600),
        ] {
            let file = self.folder.join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        self.write("server.crt", &cert);
        self.write("server.key", &key);
        self.write("own.crt", &own_cert);
        self.write("own.key", &own_key.serialize_pem());
        self.write("ca.crt", &ca);
        self.write("pg_hba.conf", HBA);
        self.run("CREATE ROLE secure LOGIN; CREATE ROLE plain LOGIN; CREATE ROLE certified LOGIN");
        self.run("CREATE ROLE pass LOGIN PASSWORD 'hush'; CREATE ROLE rotating LOGIN");
        self.run("ALTER SYSTEM SET ssl_ca_file = 'ca.crt'");
        self.run("ALTER SYSTEM SET ssl = on");
        self.reload();
    }

    /// Writes a file into the server's data folder, as the server's user and for it alone.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let quoted = text.replace('\'', "''");
        let command = format!("base64 -d > {name} && chmod 600 {name}");
        self.run(&format!(
            "COPY (SELECT translate(encode(convert_to('{quoted}', 'UTF8'), 'base64'), E'\\n', '')) \
             TO PROGRAM '{command}'"
        ));
    }

    pub(crate) fn run(&self, text: &str) {
        sql::query(&self.postgres.superuser_url(), text).unwrap_or_else(|error| panic!("{text}: {error:#}"));
    }

    fn reload(&self) {
        self.run("SELECT pg_reload_conf()");
    }

    /// Lets the server show another certificate of its data folder, to connections from now on.
    pub(crate) fn show(&self, name: &str) {
        self.run(&format!("ALTER SYSTEM SET ssl_cert_file = '{name}.crt'"));
        self.run(&format!("ALTER SYSTEM SET ssl_key_file = '{name}.key'"));
        self.reload();
        let shown = "SELECT current_setting('ssl_cert_file')";
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while sql::value(&self.postgres.superuser_url(), shown).unwrap() != format!("{name}.crt") {
            assert!(std::time::Instant::now() < deadline, "the server doesn't take {name}.crt up");
        }
    }

    /// A client's file.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The client's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The port.
    pub(crate) fn port(&self) -> &str {
        self.postgres.address().rsplit_once(':').expect("host:port").1
    }
}
