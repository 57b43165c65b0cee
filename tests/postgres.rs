//! A rule into PostgreSQL loses nothing and doubles nothing, also when the database is killed in the middle.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Server, sluice};

const PUBLISHERS: usize = 10;

/// Publishes from ten connections at once; `%i` runs from 1 in each.
fn publish_from_ten(server: &Server, each: usize) -> Vec<std::process::Child> {
    (0..PUBLISHERS)
        .map(|publisher| {
            sluice()
                .args(["pub", "-q", "1", "-p", &server.mqtt_port().to_string(), "-n", &each.to_string()])
                .args([
                    "-t",
                    &format!("load/{publisher}"),
                    "-m",
                    &format!("{{\"p\": {publisher}, \"n\": %i}}"),
                ])
                .spawn()
                .expect("pub starts")
        })
        .collect()
}

/// A rule file that stores into the table `load` of the database behind `url`, with a fallback into SQLite.
fn rules(url: &str, folder: &std::path::Path) -> String {
    let url = url::Url::parse(url).expect("a URL");
    let text = format!(
        r#"
[connectors.pgsql.warehouse]
server = "{host}:{port}"
database = "{database}"
username = "{user}"
password = "{password}"
resource_opts = {{ health_check_interval = "1s" }}

[actions.pgsql.store]
connector = "warehouse"
resource_opts = {{ request_ttl = "infinity" }}
fallback_actions = [{{ kind = "reference", type = "sqlite", name = "refused" }}]

[actions.pgsql.store.parameters]
sql = "INSERT INTO load (p, n) VALUES (${{p}}, ${{n}})"

[connectors.sqlite.refused]
path = "refused.db"

[actions.sqlite.refused]
connector = "refused"

[actions.sqlite.refused.parameters]
table = "refused"
create_table = true
columns = {{ p = "${{p}}", n = "${{n}}", code = "${{fallback.code}}", error = "${{fallback.error}}" }}

[rules.load]
sql = 'SELECT payload.p AS p, payload.n AS n FROM "load/#"'
actions = ["pgsql:store"]
"#,
        host = url.host_str().expect("a host"),
        port = url.port().expect("a port"),
        database = url.path().trim_start_matches('/'),
        user = url.username(),
        password = url.password().unwrap_or_default(),
    );
    std::fs::write(folder.join("rules.toml"), text).expect("written");
    folder.to_str().expect("UTF-8").to_owned()
}

async fn start(url: &str) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = rules(url, folder.path());
    (Server::start(&["--edition", "enterprise", "--rules", &rules]).await, folder)
}

#[tokio::test]
async fn every_message_is_one_row_although_the_database_is_killed_in_the_middle() {
    const EACH: usize = 10_000;
    const TOTAL: usize = PUBLISHERS * EACH;
    let Some(database) = tests_services::PrivatePostgres::start() else { return };
    database.sql("CREATE TABLE load (p int, n int)");
    let (server, _folder) = start(&database.url()).await;

    let publishers = publish_from_ten(&server, EACH);
    let some = || async {
        let metrics = server.action_metrics("pgsql:store").await;
        (metrics["success"].as_u64() >= Some(1000)).then_some(())
    };
    server.wait_for("the first rows", Duration::from_secs(60), some).await;
    database.kill();
    tokio::time::sleep(Duration::from_secs(15)).await;
    database.restart();
    for mut publisher in publishers {
        assert!(publisher.wait().expect("pub ends").success());
    }

    let done = || async {
        let metrics = server.action_metrics("pgsql:store").await;
        (metrics["success"].as_u64() >= Some(TOTAL as u64)).then_some(metrics)
    };
    let metrics = server.wait_for("every row", Duration::from_secs(120), done).await;
    assert_eq!(
        (&metrics["matched"], &metrics["failed"], &metrics["dropped"]),
        (&json!(TOTAL), &json!(0), &json!(0))
    );
    assert_eq!(database.sql("SELECT count(*) FROM load").trim(), TOTAL.to_string());
    assert_eq!(database.sql("SELECT count(DISTINCT (p, n)) FROM load").trim(), TOTAL.to_string());
}

#[tokio::test]
async fn one_bad_row_in_a_batch_goes_to_the_fallback_with_its_sqlstate() {
    let Some(database) = tests_services::postgres() else { return };
    database.sql("CREATE TABLE load (p int, n int CHECK (n <> 50))");
    let (server, _folder) = start(database.url()).await;
    server.publish(&["-q", "1", "-t", "load/0", "-n", "100", "-m", "{\"p\": 0, \"n\": %i}"]);

    let settled = || async {
        let metrics = server.action_metrics("pgsql:store").await;
        let ended = metrics["success"].as_u64()? + metrics["failed"].as_u64()?;
        (ended == 100).then_some(metrics)
    };
    let metrics = server.wait_for("every row to end", Duration::from_secs(30), settled).await;
    assert_eq!((&metrics["success"], &metrics["failed"]), (&json!(99), &json!(1)), "{metrics}");
    assert_eq!(database.sql("SELECT count(*) FROM load").trim(), "99");

    let file = server.data_dir().join("refused.db");
    let refused = || async {
        let rows = support::sqlite_rows(&file, "SELECT p, n, code, error FROM refused").await;
        rows.into_iter().next()
    };
    let row = server.wait_for("the refused row", Duration::from_secs(20), refused).await;
    assert_eq!((&row[1], &row[2]), (&json!(50), &json!("23514")), "{row:?}");
    assert!(row[3].as_str().expect("a reason").contains("check constraint"), "{row:?}");
}
