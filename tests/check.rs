//! `sluice check` on broken files: each problem names file, line and column, what was found, what was expected.

mod support;

use support::sluice;

/// Checks one file and compares what is said on the first line, and that every word is in the whole.
#[track_caller]
fn check(name: &str, text: &str, place: &str, words: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    std::fs::write(&file, text).expect("written");
    let output = sluice().arg("check").arg(&file).output().expect("check runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}\n{said}");
    let prefix = format!("{}:{place}: ", file.display());
    assert!(said.lines().any(|line| line.starts_with(&prefix)), "expected `{prefix}` in:\n{said}");
    for word in words {
        assert!(said.contains(word), "expected `{word}` in:\n{said}");
    }
}

const SINK: &str = "[connectors.sqlite.db]\npath = 'a.db'\n[actions.sqlite.save]\nconnector = 'db'\n\
                    parameters = { table = 't', create_table = true, columns = { v = '${v}' } }\n";

#[test]
fn toml_that_is_not_toml() {
    check("rules.toml", "[rules.r]\nsql = 'SELECT\n", "2:14", &["string"]);
}

#[test]
fn an_unknown_table() {
    check(
        "rules.toml",
        "[rules.r]\nsql = 'SELECT * FROM \"t\"'\n[acions.http.a]\n",
        "3:2",
        &["`acions`", "`actions`"],
    );
}

#[test]
fn sql_that_does_not_parse() {
    let text = "[rules.r]\nsql = '''\nSELECT payload.t AS t\nFRM \"s/#\"\n'''\nactions = []\n";
    check("rules.toml", text, "4:1", &["FRM", "FROM"]);
}

#[test]
fn an_unknown_event() {
    let text = "[rules.r]\nsql = '''SELECT * FROM \"$events/client_conected\"'''\n";
    check("rules.toml", text, "2:24", &["$events/client_conected", "did you mean", "client_connected"]);
}

#[test]
fn an_unknown_field_of_a_rule() {
    let text = "[rules.r]\nsql = 'SELECT * FROM \"t\"'\nenabled = true\n";
    check("rules.toml", text, "3:1", &["enabled", "did you mean `enable`"]);
}

#[test]
fn a_wrong_type_in_parameters() {
    let text = format!("{SINK}[actions.sqlite.other]\nconnector = 'db'\nparameters = {{ table = 5 }}\n");
    check("rules.toml", &text, "8:24", &["expected"]);
}

#[test]
fn an_unknown_connector_type() {
    check(
        "rules.toml",
        "[connectors.sqlit.db]\npath = 'a.db'\n",
        "1:13",
        &["sqlit", "did you mean `sqlite`"],
    );
}

#[test]
fn a_missing_required_field() {
    check("rules.toml", "[connectors.http.hook]\npool_size = 4\n", "1:1", &["url"]);
}

#[test]
fn an_action_on_a_connector_that_is_not_there() {
    let text = SINK.replace("connector = 'db'", "connector = 'bd'");
    check("rules.toml", &text, "4:13", &["sqlite:bd", "did you mean `sqlite:db`"]);
}

#[test]
fn a_bad_duration() {
    let text = format!("{SINK}resource_opts = {{ request_ttl = '45 secs' }}\n");
    check("rules.toml", &text, "6:33", &["45 secs", "15s"]);
}

#[test]
fn an_unknown_setting_of_the_server() {
    check(
        "sluice.toml",
        "[mqtt]\nmax_inflite = 10\n",
        "2:1",
        &["max_inflite", "did you mean `max_inflight`"],
    );
}

#[test]
fn a_setting_out_of_range() {
    check("sluice.toml", "[mqtt]\nmax_inflight = 0\n", "2:16", &["1 to 65535", "`0`"]);
}

#[test]
fn a_bad_address() {
    check("sluice.toml", "[listeners.tcp.default]\nbind = 'localhost'\n", "2:8", &["socket address"]);
}

#[test]
fn a_function_that_does_not_exist() {
    let text = "[rules.r]\nsql = '''\nSELECT *\nFROM \"t\" WHERE lowr(site) = 'berlin'\n'''\n";
    check("rules.toml", text, "4:16", &["no function named `lowr`", "did you mean `lower`?"]);
}

#[test]
fn a_doubtful_rule_is_warned_of_but_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.toml");
    let text = "[rules.r]\nsql = 'SELECT payload.l[0] AS x FROM \"a/#\" WHERE qos = 3'\n\
                [[rules.r.actions]]\nfunction = 'republish'\nargs = { topic = 'a/${clientid}/x' }\n";
    std::fs::write(&file, text).expect("written");
    let output = sluice().arg("check").arg(&file).output().expect("check runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for words in [
        "rules.toml:2:15: rules.r.sql: there is never anything at `[0]`",
        "rules.toml:2:50: rules.r.sql: `qos` is 0, 1 or 2",
        "rules.toml:5:18: rules.r.actions[0].args.topic: the rule republishes to `a/+/x`, which its own FROM `a/#` selects",
    ] {
        assert!(said.contains(words), "expected `{words}` in:\n{said}");
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 file checked: no problems, 3 warnings\n");
}

#[test]
fn rules_that_send_messages_round_are_found_over_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let rule = |id: &str, from: &str, to: &str| {
        let text = format!(
            "[rules.{id}]\nsql = 'SELECT * FROM \"{from}\"'\n\
             [[rules.{id}.actions]]\nfunction = 'republish'\nargs = {{ topic = '{to}' }}\n"
        );
        std::fs::write(folder.path().join(format!("{id}.toml")), text).expect("written");
    };
    rule("there", "a/+", "b/x");
    rule("back", "b/#", "a/${clientid}");
    rule("onward", "b/#", "c");
    let output = sluice().arg("check").arg(folder.path()).output().expect("check runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for words in [
        "there.toml:5:18: rules.there.actions[0].args.topic: the rule republishes to `b/x`, which rule `back` selects",
        "back.toml:5:18: rules.back.actions[0].args.topic: the rule republishes to `a/+`, which rule `there` selects",
    ] {
        assert!(said.contains(words), "expected `{words}` in:\n{said}");
    }
    assert!(!said.contains("onward"), "{said}");
}

#[test]
fn a_folder_of_folders_is_not_taken_for_one_without_rules() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = sluice().arg("check").arg(folder.path()).output().expect("check runs");
    assert_eq!(output.status.code(), Some(0), "rules may come later");
    let below = folder.path().join("pumps");
    std::fs::create_dir(&below).expect("a folder");
    std::fs::write(below.join("rules.toml"), "[rules.r]\nsql = 'SELECT * FROM \"t\"'\n").expect("written");
    let output = sluice().arg("check").arg(folder.path()).output().expect("check runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no rule file (`*.toml`) is directly in this folder, but"), "{said}");
    assert!(said.contains("pumps` has some"), "{said}");
}

#[test]
fn a_misspelt_from_in_a_text_with_escapes() {
    let text = "[rules.r]\nsql = \"SELECT payload.t AS t,\\n\\tu FRM \\\"s/#\\\"\"\n";
    check("rules.toml", text, "2:36", &["`FRM`", "did you mean `FROM`?"]);
}

#[test]
fn a_rule_with_an_action_that_is_not_there() {
    let text = format!("{SINK}[rules.r]\nsql = 'SELECT * FROM \"t\"'\nactions = ['sqlite:svae']\n");
    check("rules.toml", &text, "8:12", &["sqlite:svae", "did you mean `sqlite:save`?"]);
}

#[test]
fn a_fallback_that_is_not_there() {
    let text =
        format!("{SINK}fallback_actions = [{{ kind = 'reference', type = 'sqlite', name = 'svae' }}]\n");
    check("rules.toml", &text, "6:67", &["sqlite:svae", "did you mean `sqlite:save`?"]);
}

#[test]
fn a_table_that_is_there_twice() {
    check("rules.toml", "[rules.r]\nsql = 'x'\n[rules.r]\n", "3:8", &["duplicate key `r`", "once"]);
}

#[test]
fn rules_as_an_array_of_tables() {
    check("rules.toml", "[[rules]]\nid = 'r'\n", "1:1", &["expected a table", "array"]);
}

#[test]
fn a_file_that_is_not_utf_8() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.toml");
    std::fs::write(&file, b"[rules.r]\nsql = 'caf\xe9'\n").expect("written");
    let output = sluice().arg("check").arg(&file).output().expect("check runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    let place = format!("{}:2:11: found the byte 0xE9, expected text in UTF-8", file.display());
    assert!(said.starts_with(&place), "{said}");
}

#[test]
fn every_problem_of_every_file_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("a.toml", "[rules.one]\nsql = 'SELEC'\n[connectors.sqlite.db]\n[rules.two]\nsql = 5\n");
    write("b.toml", "[actions.http.x]\nconnector = 5\n");
    write("c.toml", "x = [\n");
    write("d.toml", "[rules.sound]\nsql = 'SELECT * FROM \"t\"'\n");
    let output = sluice().arg("check").arg(folder.path()).output().expect("check runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let prefix = format!("{}/", folder.path().display());
    let places: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix))
        .map(|line| line.splitn(4, ':').take(2).collect::<Vec<_>>().join(":"))
        .collect();
    assert_eq!(places, ["a.toml:2", "a.toml:3", "a.toml:5", "b.toml:1", "b.toml:2", "c.toml:1"], "{said}");
    assert!(said.ends_with("4 files checked: 6 problems\n"), "{said}");
}

#[test]
fn numbers_and_addresses_of_the_wrong_kind() {
    check("sluice.toml", "[mqtt]\nmax_inflight = 70000\n", "2:16", &["`70000`", "0 to 65535"]);
    check("sluice.toml", "[api]\nbind = 18083\n", "2:8", &["`18083`", "`127.0.0.1:1883`"]);
    check("sluice.toml", "[api]\nbind = '1.2.3.4'\n", "2:8", &["'1.2.3.4'", "`127.0.0.1:1883`"]);
}
