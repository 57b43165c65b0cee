//! Rule files are read again when they change and on a hang-up signal; a file with a problem changes nothing.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Server, sluice};

const RULE: &str = "[rules.copy]\nsql = 'SELECT payload FROM \"a/#\"'\n[[rules.copy.actions]]\nfunction = 'republish'\nargs = { topic = 'TARGET' }\n";

#[tokio::test]
async fn a_changed_file_is_applied_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.toml");
    std::fs::write(&file, RULE.replace("TARGET", "b")).expect("written");
    let server = Server::start(&["--rules", folder.path().to_str().expect("UTF-8")]).await;
    let target =
        || async { server.api("GET", "/rules/copy", None).await.1["actions"][0]["args"]["topic"].clone() };
    assert_eq!(target().await, "b");

    std::fs::write(&file, RULE.replace("TARGET", "c")).expect("written");
    let changed = || async { (target().await == "c").then_some(()) };
    server.wait_for("the new target", Duration::from_secs(10), changed).await;

    std::fs::write(&file, "[rules.copy]\nsql = 'SELEC'\n").expect("written");
    let refused = || async { server.log().contains("rule files not applied").then_some(()) };
    server.wait_for("the refusal", Duration::from_secs(10), refused).await;
    assert_eq!(target().await, "c", "the rule that worked goes on");

    std::fs::write(&file, RULE.replace("TARGET", "d")).expect("written");
    server.signal(libc::SIGHUP);
    let changed = || async { (target().await == "d").then_some(()) };
    server.wait_for("the target after the signal", Duration::from_secs(10), changed).await;

    let (status, body) = server.api("DELETE", "/rules/copy", None).await;
    assert!(status == 409 || status == 403, "a rule of a file is read-only: {status} {body}");
}

#[tokio::test]
async fn what_the_api_made_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(folder.path(), &[]).await;
    let connector = json!({"type": "sqlite", "name": "db", "path": "rows.db"});
    let action = json!({"type": "sqlite", "name": "save", "connector": "db",
        "parameters": {"table": "t", "create_table": true, "columns": {"v": "${v}"}}});
    let rule = json!({"id": "r", "sql": "SELECT payload.v AS v FROM \"t/#\"", "actions": ["sqlite:save"]});
    for (path, body) in [("/connectors", &connector), ("/actions", &action), ("/rules", &rule)] {
        let (status, answer) = server.api("POST", path, Some(body)).await;
        assert_eq!(status, 201, "{path}: {answer}");
    }
    server.kill().await;

    let server = Server::start_in(folder.path(), &[]).await;
    let connected = || async {
        let (_, action) = server.api("GET", "/actions/sqlite:save", None).await;
        (action["status"] == "connected").then_some(())
    };
    server.wait_for("the action", Duration::from_secs(10), connected).await;
    server.publish(&["-t", "t/1", "-q", "1", "-m", "{\"v\": 7}"]);
    let stored = || async {
        let rows = support::sqlite_rows(&folder.path().join("rows.db"), "SELECT v FROM t").await;
        (rows == [[json!(7)]]).then_some(())
    };
    server.wait_for("the row", Duration::from_secs(10), stored).await;
}

#[tokio::test]
async fn a_second_server_on_the_same_data_and_a_taken_port_are_refused() {
    let server = Server::start(&[]).await;
    let start = |data: &std::path::Path, mqtt: &str| {
        let output = sluice()
            .args(["start", "--api", "127.0.0.1:0", "--mqtt", mqtt, "--data-dir"])
            .arg(data)
            .output()
            .expect("start runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = start(server.data_dir(), "127.0.0.1:0");
    assert!(said.contains("another server is running on the data directory"), "{said}");
    let folder = tempfile::tempdir().expect("a folder");
    let said = start(folder.path(), &format!("127.0.0.1:{}", server.mqtt_port()));
    assert!(said.contains("taken") || said.contains("in use"), "{said}");
}

#[tokio::test]
async fn rules_follow_their_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    let rule = |id: &str| format!("[rules.{id}]\nsql = 'SELECT payload FROM \"a/#\"'\n");
    write("a.toml", &(rule("one") + &rule("two")));
    let server = Server::start(&["--rules", folder.path().to_str().expect("UTF-8")]).await;
    let wait = async |what: &str, wanted: &[&str]| {
        let reached = || async {
            let (_, page) = server.api("GET", "/rules", None).await;
            let found: Vec<_> =
                page["data"].as_array().into_iter().flatten().map(|rule| rule["id"].clone()).collect();
            (found == wanted).then_some(())
        };
        server.wait_for(what, Duration::from_secs(10), reached).await;
    };
    wait("the first reading", &["one", "two"]).await;

    // a rule that moves: for a moment it is in both files, and nothing changes
    write("b.toml", &rule("two"));
    let refused = || async { server.log().contains("declared in").then_some(()) };
    server.wait_for("the refusal", Duration::from_secs(10), refused).await;
    wait("the rules while one is in two files", &["one", "two"]).await;
    write("a.toml", &rule("one"));
    write("c.toml", &rule("three"));
    wait("the moved rule", &["one", "three", "two"]).await;

    std::fs::remove_file(folder.path().join("b.toml")).expect("removed");
    wait("the rules without a file", &["one", "three"]).await;

    // one bad file keeps the changes of all back
    write("c.toml", "[rules.three]\nsql = 'SELECT payl");
    std::fs::remove_file(folder.path().join("a.toml")).expect("removed");
    let refused = || async { server.log().contains("c.toml:2:").then_some(()) };
    server.wait_for("the second refusal", Duration::from_secs(10), refused).await;
    wait("the rules with a broken file", &["one", "three"]).await;
    write("c.toml", &rule("three"));
    wait("the rules of the mended file", &["three"]).await;
}

#[tokio::test]
async fn a_rule_that_the_api_made_is_not_taken_over_by_a_file() {
    let data = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(data.path(), &[]).await;
    let rule = json!({"id": "copy", "sql": "SELECT 1 AS a FROM t"});
    assert_eq!(server.api("POST", "/rules", Some(&rule)).await.0, 201);
    server.terminate().await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("rules.toml"), RULE).expect("written");
    let output = sluice()
        .args(["start", "--api", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data-dir"])
        .arg(data.path())
        .arg("--rules")
        .arg(folder.path())
        .output()
        .expect("start runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("rule `copy` already exists: it was made through the API"), "{said}");
}

#[test]
fn a_bad_start_says_what_to_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "a:b:root\n").expect("written");
    let keys = keys.to_str().expect("UTF-8");
    let check = |arguments: &[&str], variable: Option<(&str, &str)>, words: &[&str]| {
        let mut command = sluice();
        command.args(["start", "--api", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data-dir"]);
        command.arg(folder.path()).args(arguments).envs(variable);
        let output = command.output().expect("start runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in words {
            assert!(said.contains(word), "expected `{word}` in:\n{said}");
        }
        assert!(!said.contains("listening"), "no client is accepted before:\n{said}");
    };
    check(&["--api-keys", keys], None, &["--api-keys", "line 1", "`root`"]);
    check(&["--api-keys", "/nowhere"], None, &["--api-keys", "/nowhere"]);
    check(&["--rules", "/nowhere"], None, &["/nowhere"]);
    check(&["--config", "/nowhere"], None, &["/nowhere"]);
    check(&[], Some(("SLUICE_LOG", "lots,,,=")), &["SLUICE_LOG", "lots,,,=", "`info`"]);
}
