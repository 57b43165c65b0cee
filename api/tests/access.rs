//! Logging in, API keys, roles.

mod support;

use serde_json::{Value as Json, json};
use support::{Fixture, basic};

const PASSWORD: &str = "correct-horse-1";

async fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.api.accounts().ensure_first_user(Some(PASSWORD)).await.unwrap();
    fixture
}

async fn log_in(fixture: &Fixture, username: &str, password: &str) -> String {
    let body = json!({"username": username, "password": password});
    let answer = fixture.call_as("", "POST /api/v5/login", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    format!("Bearer {}", answer.json()["token"].as_str().unwrap())
}

async fn make_key(fixture: &Fixture, name: &str, role: &str) -> String {
    let answer = fixture.call("POST /api/v5/api_key", json!({"name": name, "role": role})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let key = answer.json();
    basic(key["api_key"].as_str().unwrap(), key["api_secret"].as_str().unwrap())
}

#[tokio::test]
async fn a_user_logs_in_and_out() {
    let fixture = fixture().await;
    let body = json!({"username": "admin", "password": PASSWORD});
    let answer = fixture.call_as("", "POST /api/v5/login", body).await.json();
    assert_eq!(answer["role"], "administrator");
    assert_eq!(answer["license"]["edition"], "opensource");
    let token = format!("Bearer {}", answer["token"].as_str().unwrap());
    assert_eq!(fixture.call_as(&token, "GET /api/v5/users", Json::Null).await.status, 200);
    let other = fixture.call_as(&token, "POST /api/v5/logout", json!({"username": "bob"})).await;
    assert_eq!((other.status.as_u16(), &*other.code()), (401, "WRONG_TOKEN_OR_USERNAME"));
    assert_eq!(
        fixture.call_as(&token, "POST /api/v5/logout", json!({"username": "admin"})).await.status,
        204
    );
    let after = fixture.call_as(&token, "GET /api/v5/users", Json::Null).await;
    assert_eq!((after.status.as_u16(), &*after.code()), (401, "BAD_TOKEN"));
}

#[tokio::test]
async fn a_token_lives_an_hour_after_its_last_use() {
    let fixture = fixture().await;
    let token = log_in(&fixture, "admin", PASSWORD).await;
    for _ in 0..3 {
        fixture.clock.advance_ms(59 * 60 * 1000);
        assert_eq!(fixture.call_as(&token, "GET /api/v5/nodes", Json::Null).await.status, 200);
    }
    fixture.clock.advance_ms(60 * 60 * 1000);
    let answer = fixture.call_as(&token, "GET /api/v5/nodes", Json::Null).await;
    assert_eq!((answer.status.as_u16(), &*answer.code()), (401, "TOKEN_TIME_OUT"));
}

#[tokio::test]
async fn five_wrong_passwords_lock() {
    let fixture = fixture().await;
    let wrong = || json!({"username": "admin", "password": "wrong"});
    for _ in 0..5 {
        let answer = fixture.call_as("", "POST /api/v5/login", wrong()).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (401, "BAD_USERNAME_OR_PWD"));
    }
    let right = json!({"username": "admin", "password": PASSWORD});
    let answer = fixture.call_as("", "POST /api/v5/login", right.clone()).await;
    assert_eq!((answer.status.as_u16(), &*answer.code()), (401, "LOGIN_LOCKED"));
    assert_eq!(answer.headers["retry-after"], "600");
    fixture.clock.advance_ms(10 * 60 * 1000);
    assert_eq!(fixture.call_as("", "POST /api/v5/login", right).await.status, 200);
}

#[tokio::test]
async fn credentials_that_are_wrong_are_told_apart() {
    let fixture = fixture().await;
    for (authorization, code) in [
        ("", "AUTHORIZATION_HEADER_ERROR"),
        ("Digest x", "AUTHORIZATION_HEADER_ERROR"),
        ("Basic !!!", "AUTHORIZATION_HEADER_ERROR"),
        ("Bearer", "AUTHORIZATION_HEADER_ERROR"),
        ("Bearer nonsense", "BAD_TOKEN"),
        (&*basic("nobody", "x"), "BAD_API_KEY_OR_SECRET"),
        // a user of the dashboard is no API key
        (&*basic("admin", PASSWORD), "BAD_API_KEY_OR_SECRET"),
    ] {
        let answer = fixture.call_as(authorization, "GET /api/v5/nodes", Json::Null).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (401, code), "{authorization}");
        assert_eq!(answer.headers["www-authenticate"], "Basic Realm=\"emqx-dashboard\"");
    }
    for path in ["/status", "/api/v5/status", "/api/v5/error_codes", "/api/v5/prometheus/stats", "/api-docs"]
    {
        assert_eq!(fixture.call_as("", &format!("GET {path}"), Json::Null).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn roles_are_kept_apart() {
    let fixture = fixture().await;
    let viewer = make_key(&fixture, "v", "viewer").await;
    let publisher = make_key(&fixture, "p", "publisher").await;
    let administrator = make_key(&fixture, "a", "administrator").await;
    let message = || json!({"topic": "t", "payload": "x"});
    for (key, request, body, status, code) in [
        (&viewer, "GET /api/v5/clients", Json::Null, 200, ""),
        (&viewer, "POST /api/v5/publish", message(), 403, "UNAUTHORIZED_ROLE"),
        (&viewer, "DELETE /api/v5/clients/c", Json::Null, 403, "UNAUTHORIZED_ROLE"),
        (&publisher, "POST /api/v5/publish", message(), 202, ""),
        (&publisher, "GET /api/v5/clients", Json::Null, 403, "UNAUTHORIZED_ROLE"),
        (&administrator, "GET /api/v5/users", Json::Null, 401, "API_KEY_NOT_ALLOW"),
        (&administrator, "GET /api/v5/api_key", Json::Null, 401, "API_KEY_NOT_ALLOW"),
        (&administrator, "POST /api/v5/logout", json!({"username": "a"}), 401, "API_KEY_NOT_ALLOW"),
        (&administrator, "GET /api/v5/nodes", Json::Null, 200, ""),
    ] {
        let answer = fixture.call_as(key, request, body).await;
        assert_eq!(answer.status.as_u16(), status, "{request}: {}", answer.text);
        if !code.is_empty() {
            assert_eq!(answer.code(), code, "{request}");
        }
    }
}

#[tokio::test]
async fn an_api_key_ends_and_is_switched_off() {
    let fixture = fixture().await;
    let key = make_key(&fixture, "ci", "viewer").await;
    let shown = fixture
        .check("GET /api/v5/api_key/ci", Json::Null, 200, json!({"name": "ci", "expired": false}))
        .await;
    assert!(shown.get("api_secret").is_none());
    let works = async || fixture.call_as(&key, "GET /api/v5/nodes", Json::Null).await.status == 200;
    assert!(works().await);
    fixture.check("PUT /api/v5/api_key/ci", json!({"enable": false}), 200, json!({"enable": false})).await;
    assert!(!works().await);
    fixture.check("PUT /api/v5/api_key/ci", json!({"enable": true}), 200, json!({})).await;
    assert!(works().await);
    let end = json!({"expired_at": "2026-03-01T09:31:00Z"});
    fixture
        .check("PUT /api/v5/api_key/ci", end, 200, json!({"expired_at": "2026-03-01T09:31:00+00:00"}))
        .await;
    assert!(works().await);
    fixture.clock.advance_ms(60_000);
    assert!(!works().await);
    fixture.check("GET /api/v5/api_key/ci", Json::Null, 200, json!({"expired": true})).await;
    fixture
        .check("POST /api/v5/api_key", json!({"name": "ci"}), 400, json!({"code": "ALREADY_EXISTS"}))
        .await;
    fixture.check("DELETE /api/v5/api_key/ci", Json::Null, 204, Json::Null).await;
    fixture.check("DELETE /api/v5/api_key/ci", Json::Null, 404, json!({"code": "NOT_FOUND"})).await;
}

#[tokio::test]
async fn secrets_are_stored_as_hashes_only() {
    let fixture = fixture().await;
    let answer = fixture.call("POST /api/v5/api_key", json!({"name": "ci"})).await.json();
    let stored = format!("{:?}", fixture.store.contents());
    assert!(!stored.contains(answer["api_secret"].as_str().unwrap()));
    assert!(!stored.contains(PASSWORD));
    assert!(stored.contains("$argon2id$"));
}

#[tokio::test]
async fn keys_of_a_file_work_and_can_be_loaded_again() {
    let fixture = fixture().await;
    for secret in ["one-secret", "two-secret"] {
        let keys = format!("# ours\nci:{secret}:viewer\n");
        assert_eq!(fixture.api.accounts().load_key_file(&keys).await.unwrap(), 1);
        let answer = fixture.call_as(&basic("ci", secret), "GET /api/v5/nodes", Json::Null).await;
        assert_eq!(answer.status, 200);
    }
    let old = fixture.call_as(&basic("ci", "one-secret"), "GET /api/v5/nodes", Json::Null).await;
    assert_eq!(old.status, 401);
}

#[tokio::test]
async fn users_are_managed() {
    let fixture = fixture().await;
    let admin = log_in(&fixture, "admin", PASSWORD).await;
    let bob = json!({"username": "bob", "password": "bob-secret-1", "role": "viewer", "description": "d"});
    fixture
        .check(
            "POST /api/v5/users",
            bob.clone(),
            200,
            json!({"username": "bob", "role": "viewer", "description": "d", "backend": "local"}),
        )
        .await;
    fixture.check("POST /api/v5/users", bob, 400, json!({"code": "ALREADY_EXISTS"})).await;
    for (username, password, role) in [
        ("", "bob-secret-1", "viewer"),
        ("a b", "bob-secret-1", "viewer"),
        ("c", "weak", "viewer"),
        ("c", "bob-secret-1", "publisher"),
    ] {
        let body = json!({"username": username, "password": password, "role": role});
        fixture.check("POST /api/v5/users", body, 400, json!({"code": "BAD_REQUEST"})).await;
    }
    let token = log_in(&fixture, "bob", "bob-secret-1").await;
    let change = |old: &str, new: &str| json!({"old_pwd": old, "new_pwd": new});
    for (request, body, status) in [
        ("POST /api/v5/users/bob/change_pwd", change("wrong-1", "new-secret-1"), 400),
        ("POST /api/v5/users/bob/change_pwd", change("bob-secret-1", "weak"), 400),
        ("POST /api/v5/users/bob/change_pwd", json!({"new_pwd": "new-secret-1"}), 400),
        ("POST /api/v5/users/admin/change_pwd", change("x", "new-secret-1"), 403),
        ("POST /api/v5/users/bob/change_pwd", change("bob-secret-1", "new-secret-1"), 204),
        ("GET /api/v5/nodes", Json::Null, 401),
    ] {
        let answer = fixture.call_as(&token, request, body).await;
        assert_eq!(answer.status.as_u16(), status, "{request}: {}", answer.text);
    }
    log_in(&fixture, "bob", "new-secret-1").await;
    fixture.check("PUT /api/v5/users/admin", json!({"role": "viewer"}), 400, json!({})).await;
    fixture.check("DELETE /api/v5/users/admin", Json::Null, 400, json!({})).await;
    fixture
        .check("PUT /api/v5/users/bob", json!({"role": "administrator"}), 200, json!({"description": "d"}))
        .await;
    let own = fixture.call_as(&admin, "DELETE /api/v5/users/admin", Json::Null).await;
    assert_eq!(own.status, 400, "oneself");
    fixture.check("DELETE /api/v5/users/bob", Json::Null, 204, Json::Null).await;
    fixture.check("DELETE /api/v5/users/bob", Json::Null, 404, json!({"code": "USER_NOT_FOUND"})).await;
}

#[tokio::test]
async fn a_store_that_fails_changes_nothing() {
    let fixture = fixture().await;
    fixture.store.set_failing(true);
    fixture
        .check("POST /api/v5/api_key", json!({"name": "ci"}), 500, json!({"code": "INTERNAL_ERROR"}))
        .await;
    fixture.check("GET /api/v5/api_key", Json::Null, 200, json!([])).await;
}

#[tokio::test]
async fn the_first_user_is_made_once() {
    let fixture = Fixture::new();
    let api::FirstUser::MadeWithRandomPassword(password) =
        fixture.api.accounts().ensure_first_user(None).await.unwrap()
    else {
        panic!("a random password");
    };
    log_in(&fixture, "admin", &password).await;
    assert_eq!(fixture.api.accounts().ensure_first_user(Some("x")).await.unwrap(), api::FirstUser::Present);
}
