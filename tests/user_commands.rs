//! `lychgate user` as an operator runs it: the built binary in a folder of its own, with nothing in its environment.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use lychgate::credentials::PasswordHash;

const ACME: &str = "domain = \"acme.eu.auth0.com\"\nclient_id = \"abc\"\nclient_secret = \"hush-hush\"\n";
const FILE: &str = "local_users_file = \"acme.htpasswd\"\n";

struct Folder(tempfile::TempDir);

#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Folder {
    fn with(tenant: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir(folder.0.path().join("tenants")).unwrap();
        fs::write(folder.0.path().join("tenants/acme.toml"), tenant).unwrap();
        folder
    }

    fn run(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lychgate"));
        command.args(arguments).current_dir(self.0.path()).env_clear();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may have said no without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Said { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    fn file(&self) -> String {
        fs::read_to_string(self.0.path().join("tenants/acme.htpasswd")).unwrap()
    }

    fn put(&self, text: &str) {
        fs::write(self.0.path().join("tenants/acme.htpasswd"), text).unwrap();
    }
}

fn hash_of<'f>(file: &'f str, name: &str) -> &'f str {
    file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap()
}

#[track_caller]
fn opens(hash: &str, password: &str) {
    assert!(PasswordHash::parse(hash).unwrap().verify(&password.into()), "{hash}");
}

#[test]
fn add_makes_the_file_that_the_tenant_names_and_only_its_owner_reads_it() {
    let folder = Folder::with(&format!("{ACME}{FILE}"));
    let said = folder.run(&["user", "add", "acme", "ada"], "correct horse\n");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("acme.htpasswd") && !said.out.contains("argon2"), "{said:?}");
    opens(hash_of(&folder.file(), "ada"), "correct horse");
    #[cfg(unix)]
    {
        let path = folder.0.path().join("tenants/acme.htpasswd");
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    let said = folder.run(&["user", "add", "acme", "Grace Hopper"], "another password\r\n");
    assert_eq!(said.code, 0, "{said:?}");
    opens(hash_of(&folder.file(), "Grace Hopper"), "another password");
    assert_eq!(folder.run(&["check"], "").code, 0);
}

#[test]
fn passwd_changes_one_line_and_leaves_the_others_as_they_are() {
    let folder = Folder::with(&format!("{ACME}{FILE}"));
    folder.run(&["user", "add", "acme", "Ada"], "correct horse\n");
    folder.run(&["user", "add", "acme", "grace"], "another password\n");
    folder.put(&format!("# operators\n\n{}", folder.file()));
    let before = folder.file();
    let said = folder.run(&["user", "passwd", "acme", "ADA"], "a newer password\n");
    assert_eq!(said.code, 0, "{said:?}");
    let after = folder.file();
    opens(hash_of(&after, "Ada"), "a newer password");
    assert_eq!(hash_of(&after, "grace"), hash_of(&before, "grace"));
    assert!(after.starts_with("# operators\n\nAda:"), "{after}");
}

#[test]
fn without_a_file_the_toml_to_paste_is_printed() {
    let folder = Folder::with(ACME);
    let said = folder.run(&["user", "add", "acme", "ada"], "correct horse\n");
    assert_eq!(said.code, 0, "{said:?}");
    fs::write(folder.0.path().join("tenants/acme.toml"), format!("{ACME}{}", said.out)).unwrap();
    assert_eq!(folder.run(&["check"], "").code, 0);
    let table: toml::Table = said.out.parse().unwrap();
    opens(table["local_users"][0]["password_hash"].as_str().unwrap(), "correct horse");
    let said = folder.run(&["user", "passwd", "acme", "ada"], "a newer password\n");
    let table: toml::Table = said.out.parse().unwrap();
    opens(table["password_hash"].as_str().unwrap(), "a newer password");
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = Folder::with(&format!("{ACME}{FILE}"));
    folder.run(&["user", "add", "acme", "ada"], "correct horse\n");
    let before = folder.file();
    for (arguments, input, code, words) in [
        (["user", "add", "acme", "ADA"], "correct horse\n", 1, "such an account already"),
        (["user", "passwd", "acme", "eve"], "correct horse\n", 1, "no such account"),
        (["user", "add", "acme", "eve"], "short\n", 1, "at least 8 characters"),
        (["user", "add", "acme", "eve"], "", 1, "at least 8 characters"),
        (["user", "add", "acme", "a:b"], "correct horse\n", 1, "a colon"),
        (["user", "add", "globex", "ada"], "correct horse\n", 78, "there is no tenant globex"),
        (["user", "add", "No Tenant", "ada"], "correct horse\n", 2, "No Tenant"),
    ] {
        let said = folder.run(&arguments, input);
        assert_eq!(said.code, code, "{arguments:?}: {said:?}");
        assert!(said.err.contains(words) && !said.err.contains("correct horse"), "{arguments:?}: {said:?}");
    }
    assert_eq!(folder.file(), before);
}

#[test]
fn check_tells_every_bad_line_of_the_file_without_showing_it() {
    let folder = Folder::with(&format!("{ACME}{FILE}"));
    assert_eq!(folder.run(&["check"], "").code, 78, "the file must be there");
    folder.put("# good\nada\nb:$apr1$r31$lHc\nc:hush-hush\n:x\nd:$2y$05$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n");
    let said = folder.run(&["check"], "");
    assert_eq!(said.code, 78, "{said:?}");
    for words in [
        "acme.toml: local_users_file: line 2: is not a name, a colon and a hash",
        "line 3: what follows the name is not a hash by argon2id or bcrypt",
        "line 4: what follows the name is not a hash",
        "line 5: the name is empty",
        "line 6: what follows the name is a bcrypt hash of another cost",
        "5 faults",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert!(!said.err.contains("hush-hush") && !said.err.contains("apr1"));
}

#[test]
fn a_name_is_there_once_in_whatever_spelling_and_claims_of_ours_are_ours() {
    let good = Folder::with(ACME).run(&["user", "add", "acme", "ada"], "correct horse\n").out;
    let other = good.replace("\"ada\"", "\"ＡDA\"");
    let own = format!("{other}claims = {{ sub = \"auth0|1\", department = \"navy\" }}\nrank = \"admiral\"\n");
    let said = Folder::with(&format!("{ACME}{good}{own}")).run(&["check"], "");
    assert_eq!(said.code, 78, "{said:?}");
    for words in [
        "local_users[1].name: is there twice",
        "local_users[1].claims.sub: is a claim that lychgate makes itself",
        "local_users[1].rank: unknown key",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    let said = Folder::with(&format!("{ACME}[[local_users]]\ndisplay_name = \"Ada\"\n")).run(&["check"], "");
    assert!(said.err.contains("local_users[0].name: is missing"), "{said:?}");
    assert!(said.err.contains("local_users[0].password_hash: is missing"), "{said:?}");
}
