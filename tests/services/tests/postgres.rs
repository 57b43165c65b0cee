//! The instances that tests get are fresh, separate, and survive being killed.

use tests_services::PrivatePostgres;

#[test]
fn each_test_has_a_database_of_its_own() {
    let Some(one) = tests_services::postgres() else { return };
    let Some(two) = tests_services::postgres() else { return };
    one.sql("create table t (v int); insert into t values (1)");
    two.sql("create table t (v int)");
    assert_eq!(one.sql("select v from t"), "1");
    assert_eq!(two.sql("select count(*) from t"), "0");
}

#[test]
fn a_killed_instance_comes_back_with_what_was_committed() {
    let Some(server) = PrivatePostgres::start() else { return };
    let url = server.url();
    server.sql("create table t (v int); insert into t values (7)");
    server.kill();
    server.restart();
    assert_eq!(server.url(), url);
    assert_eq!(server.sql("select v from t"), "7");
}
