use std::fs;

use super::*;
use crate::web::Protocol;
use crate::web::testing::Ca;

const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
const TLS: &str = "tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n";

/// A folder with a certificate `a` and the file.
fn folder(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    Ca::new("ca").issue("a").write(folder.path(), "a");
    let path = folder.path().join("web.yml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn users(file: &WebFile) -> Result<usize, String> {
    file.config().map(|config| config.users.hashes_for_test().len()).map_err(|error| error.to_string())
}

#[test]
fn what_cannot_be_used_is_told_at_the_start() {
    let (folder, path) = folder(TLS);
    assert!(WebFile::open(&path).is_ok());
    let refused = |text: &str| {
        fs::write(&path, text).unwrap();
        WebFile::open(&path).unwrap_err().to_string()
    };
    let place = |line: usize, key: &str| format!("{}:{line}: {key}: {}/", path.display(), folder.path().display());
    let missing = refused(&TLS.replace("a.crt", "b.crt"));
    assert_eq!(missing, format!("{}b.crt: No such file or directory (os error 2)", place(2, "cert_file")));
    let key = refused(&TLS.replace("a.key", "web.yml"));
    assert!(key.starts_with(&format!("{}web.yml: not a private key in PEM: ", place(3, "key_file"))), "{key}");
    let certificate = refused(&TLS.replace("a.crt", "a.key"));
    assert_eq!(certificate, format!("{}a.key: there is no certificate in it", place(2, "cert_file")));
    Ca::new("ca").issue("b").write(folder.path(), "b");
    let other = refused(&TLS.replace("a.key", "b.key"));
    assert!(other.starts_with(&format!("{}a.crt: cannot be used with the key: ", place(2, "cert_file"))), "{other}");
    let verified = format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: none.crt\n");
    assert!(refused(&verified).contains("/none.crt: No such file"));
    let missing = WebFile::open(&folder.path().join("none.yml")).unwrap_err().to_string();
    assert!(missing.ends_with("none.yml: No such file or directory (os error 2)"), "{missing}");
}

#[test]
fn inline_certificates_and_keys_are_read() {
    let (folder, path) = folder("");
    let indented = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap().replace('\n', "\n    ");
    let text =
        format!("tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n", indented("a.crt"), indented("a.key"));
    fs::write(&path, text).unwrap();
    assert!(WebFile::open(&path).unwrap().tls().unwrap().is_some());
}

#[test]
fn changes_take_effect_and_damage_shuts_the_door() {
    let one = format!("basic_auth_users:\n  a: {HASH}\n");
    let (_folder, path) = folder(&one);
    let file = WebFile::open(&path).unwrap();
    assert_eq!(users(&file), Ok(1));
    fs::write(&path, format!("{one}  b: {HASH}\n")).unwrap();
    assert_eq!(users(&file), Ok(2));
    fs::write(&path, format!("{one}  b: nonsense\n")).unwrap();
    assert!(users(&file).unwrap_err().contains("basic_auth_users: the password of \"b\""));
    fs::remove_file(&path).unwrap();
    assert!(users(&file).unwrap_err().contains("No such file"));
    fs::write(&path, &one).unwrap();
    assert_eq!(users(&file), Ok(1));
    // empty for a moment, as a file that is written
    fs::write(&path, "").unwrap();
    assert!(users(&file).unwrap_err().ends_with("basic_auth_users went away; a restart takes a file without"));
    fs::write(&path, &one).unwrap();
    assert_eq!(users(&file), Ok(1));
}

#[test]
fn tls_does_not_go_away() {
    let http = |file: &WebFile| Arc::clone(file.tls().unwrap().unwrap().config(Protocol::Http));
    let (folder, path) = folder(TLS);
    let file = WebFile::open(&path).unwrap();
    let first = http(&file);
    assert!(Arc::ptr_eq(&first, &http(&file)), "it is not made anew for each handshake");
    Ca::new("ca").issue("b").write(folder.path(), "a");
    let second = http(&file);
    assert!(!Arc::ptr_eq(&first, &second));
    fs::write(folder.path().join("a.key"), "none").unwrap();
    assert!(file.tls().unwrap_err().to_string().contains(":3: key_file: "));
    // requests on connections that stand are none of its business
    assert!(file.config().is_ok());
    Ca::new("ca").issue("a").write(folder.path(), "a");
    let ca = format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: a.crt\n");
    fs::write(&path, &ca).unwrap();
    assert!(file.tls().unwrap().unwrap().verifies_clients);
    for (lost, what) in [(TLS, "the verification of client certificates"), ("", "tls_server_config")] {
        fs::write(&path, lost).unwrap();
        assert!(file.tls().unwrap_err().to_string().contains(what));
        assert!(file.config().unwrap_err().to_string().contains(what));
    }
    fs::write(&path, &ca).unwrap();
    assert!(file.tls().unwrap().is_some());
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let (_folder, path) = folder(&"#".repeat(1 << 20));
    assert!(WebFile::open(&path).is_ok());
    fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(WebFile::open(&path).unwrap_err().to_string().ends_with("larger than 1048576 bytes"));
}

/// promtool reads the same file with exporter-toolkit; the Debian package's knows no rate limit and no allowed names yet.
#[test]
fn promtool_agrees() {
    let (folder, path) = folder("");
    let promtool = || std::process::Command::new("promtool").args(["check", "web-config"]).arg(&path).output();
    if let Err(error) = promtool() {
        eprintln!("skipped: promtool does not run: {error}");
        return;
    }
    fs::write(folder.path().join("ca.crt"), Ca::new("ca").pem).unwrap();
    let ca = "  client_ca_file: ca.crt\n";
    for (good, text) in [
        (true, TLS.to_owned()),
        (true, format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n{ca}")),
        (true, format!("{TLS}  client_auth_type: RequireAnyClientCert\n  min_version: TLS13\n")),
        (
            true,
            format!("{TLS}  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n  curve_preferences: [X25519]\n"),
        ),
        (true, format!("basic_auth_users:\n  a: {HASH}\n")),
        (true, "http_server_config: {http2: false, headers: {X-Frame-Options: sameorigin}}\n".to_owned()),
        (true, "tls_server_config: {}\n".to_owned()),
        (false, format!("{TLS}{ca}")),
        (false, format!("{TLS}  client_auth_type: Some\n")),
        (false, format!("{TLS}  min_version: TLS9\n")),
        (false, format!("{TLS}  cipher_suites: [TLS_X]\n")),
        (false, format!("{TLS}  curve_preferences: [X]\n")),
        (false, format!("{TLS}  unknown: 1\n")),
        (false, TLS.replace("a.key", "none.key")),
        (false, "basic_auth_users: {a: b}\n".to_owned()),
        (false, "http_server_config: {headers: {X-Frame-Options: no}}\n".to_owned()),
        (false, "http_server_config: {headers: {Server: x}}\n".to_owned()),
    ] {
        fs::write(&path, &text).unwrap();
        let theirs = promtool().unwrap();
        let said = String::from_utf8_lossy(&theirs.stderr).into_owned();
        assert_eq!((theirs.status.success(), WebFile::open(&path).is_ok()), (good, good), "{text}{said}");
    }
}
