//! Rules that fail or never give anything: each is told of when it is made, with the place and the cause.

use engine_sql::{Plan, Severity};

/// Where the problem is to be found stands behind `@`.
const DOUBTFUL: &[(&str, &str)] = &[
    // functions
    ("SELECT @lowr(clientid) AS c FROM \"t\"", "no function named `lowr` did you mean `lower`?"),
    (
        "SELECT clientid FROM \"t\" WHERE @is_nul(payload.a)",
        "no function named `is_nul` did you mean `is_null`?",
    ),
    ("SELECT @upper() AS c FROM \"t\"", "`upper` takes 1 arguments, found 0"),
    ("SELECT @split(topic, '/', 'x', 'y') AS c FROM \"t\"", "`split` takes 2 to 3 arguments, found 4"),
    ("SELECT regex_match(payload.a, @'(') AS c FROM \"t\"", "no regular expression"),
    ("SELECT jq(@'.[', payload) AS c FROM \"t\"", "no jq program"),
    ("SELECT nth(@0, payload.l) AS c FROM \"t\"", "the first element is 1"),
    // columns
    ("SELECT @clientID FROM \"t\"", "no event of FROM has a column `clientID` did you mean `clientid`?"),
    (
        "SELECT @temp FROM \"t\"",
        "no event of FROM has a column `temp` fields of the payload are read as `payload.temp`",
    ),
    ("SELECT clientid FROM \"t\" WHERE clientid = @\"dev1\"", "column `dev1` texts stand in single quotes"),
    ("SELECT @payload.t AS t FROM \"$events/client/connected\"", "no event of FROM has a column `payload`"),
    ("SELECT @reason FROM \"$events/client/connected\"", "no event of FROM has a column `reason`"),
    ("SELECT @topic FROM \"$events/client/connected\", \"$events/client/disconnected\"", "column `topic`"),
    ("SELECT @connected_at FROM \"t\"", "column `connected_at`"),
    ("FOREACH payload.l AS d DO @e.x AS x FROM \"t\"", "column `e`"),
    ("FOREACH payload.l AS d DO @item.x AS x FROM \"t\"", "column `item`"),
    ("SELECT @qos.x AS x FROM \"t\"", "`qos` is a number: there is nothing inside it"),
    ("SELECT @timestamp.day AS x FROM \"t\"", "`timestamp` is a number"),
    ("SELECT clientid FROM \"t\" WHERE payload.a = @null", "`null` is read as a column write `null()`"),
    ("SELECT payload.a AS x, payload.b AS @x FROM \"t\"", "`x` is made twice"),
    // indices
    ("SELECT @payload.l[0] AS x FROM \"t\"", "there is never anything at `[0]` `[1]` is the first element"),
    ("SELECT @payload.l[-0].a AS x FROM \"t\"", "`[-0]` `[-1]` is the last element"),
    ("SELECT @payload.l[0..2] AS x FROM \"t\"", "a range counts from 1"),
    ("SELECT @payload.l[3..1] AS x FROM \"t\"", "ends before it begins"),
    // conditions that are never true
    ("SELECT clientid FROM \"t\" WHERE @qos = 3", "`qos` is 0, 1 or 2: this is never true"),
    ("SELECT clientid FROM \"t\" WHERE @qos > 2", "`qos` is 0, 1 or 2"),
    ("SELECT clientid FROM \"t\" WHERE @-1 >= qos", "`qos` is 0, 1 or 2"),
    (
        "SELECT clientid FROM \"t\" WHERE @qos = 'high'",
        "a number cannot be compared with a text that is not a number",
    ),
    ("SELECT clientid FROM \"t\" WHERE @timestamp > 'now'", "a number cannot be compared"),
    (
        "SELECT clientid FROM \"a/#\" WHERE @topic = 'a/+/b'",
        "no topic is equal to the filter `a/+/b` match with `=~`",
    ),
    ("SELECT clientid FROM \"a/#\" WHERE @topic = 'b/1'", "FROM does not select the topic `b/1`"),
    ("SELECT clientid FROM \"a/+/c\" WHERE topic =~ @'b/#'", "no topic that FROM selects matches `b/#`"),
    ("SELECT clientid FROM \"a/#\" WHERE topic =~ @'a/#/b'", "`a/#/b` is not a topic filter"),
    (
        "SELECT clientid FROM \"a/#\" WHERE @event = 'client.connected'",
        "FROM selects no event `client.connected` message.publish",
    ),
    (
        "SELECT clientid FROM \"t\" WHERE payload.a = 1 AND @payload.a = 2",
        "cannot be true together with `payload.a = 1`",
    ),
    (
        "SELECT clientid FROM \"t\" WHERE payload.a > 5 AND @payload.a < 3",
        "cannot be true together with `payload.a > 5`",
    ),
    (
        "SELECT clientid FROM \"t\" WHERE payload.a >= 5 AND qos = 1 AND @5 > payload.a",
        "together with `payload.a >= 5`",
    ),
    (
        "SELECT clientid FROM \"t\" WHERE payload.s = 'a' AND @payload.s = 'b'",
        "together with `payload.s = 'a'`",
    ),
    ("SELECT clientid FROM \"t\" WHERE @payload.a BETWEEN 5 AND 1", "nothing is between 5 and 1"),
    ("SELECT clientid FROM \"t\" WHERE @qos IN ('0', '1')", "IN looks for exactly equal values"),
    ("SELECT clientid FROM \"t\" WHERE @clientid IN (1, 2)", "IN looks for exactly equal values"),
    ("SELECT clientid FROM \"t\" WHERE @qos IN (3, 4)", "`qos` is 0, 1 or 2, and none of these"),
    ("SELECT clientid FROM \"t\" WHERE @lower(clientid) = 'Dev1'", "`lower` never gives 'Dev1'"),
    ("SELECT clientid FROM \"t\" WHERE @'dev1' = upper(clientid)", "`upper` never gives 'dev1'"),
    ("SELECT clientid FROM \"t\" WHERE @strlen(clientid) < 0", "`strlen` is never less than 0"),
    ("SELECT clientid FROM \"t\" WHERE @is_null(payload.a) = 1", "a boolean is never equal to a number"),
    ("SELECT clientid FROM \"t\" WHERE @1 = 2", "this is never true, so WHERE never is"),
    ("SELECT clientid FROM \"t\" WHERE payload.a = 1 AND @false", "never true, so WHERE never is"),
    ("SELECT clientid FROM \"t\" WHERE payload.a LIKE @5", "LIKE needs a text"),
    // conditions that are none
    (
        "SELECT clientid FROM \"t\" WHERE @qos",
        "WHERE needs a boolean, this is a number compare it with something",
    ),
    ("SELECT clientid FROM \"t\" WHERE @lower(clientid)", "WHERE needs a boolean, this is a text"),
    ("SELECT clientid FROM \"t\" WHERE @'true'", "WHERE needs a boolean"),
    ("FOREACH payload.l AS d DO d.x AS x INCASE @clientid FROM \"t\"", "INCASE needs a boolean"),
    ("FOREACH payload.l AS d DO d.x AS x INCASE d.t > 9 AND @d.t < 3 FROM \"t\"", "INCASE never is"),
    // arithmetic
    ("SELECT payload.a * @'x' AS x FROM \"t\"", "`*` needs numbers, this is a text"),
    ("SELECT @clientid - 1 AS x FROM \"t\"", "`-` needs numbers, this is a text"),
    ("SELECT payload.a / @0 AS x FROM \"t\"", "a division by zero"),
    ("SELECT payload.a mod @0 AS x FROM \"t\"", "a division by zero"),
    // branches that are never reached
    (
        "SELECT CASE WHEN qos = 1 THEN 1 WHEN @qos = 1 THEN 2 END AS x FROM \"t\"",
        "never reached: one before it has the same condition",
    ),
    ("SELECT CASE qos WHEN 1 THEN 1 WHEN @1 THEN 2 END AS x FROM \"t\"", "never reached"),
    (
        "SELECT CASE WHEN true THEN 1 WHEN @qos = 1 THEN 2 END AS x FROM \"t\"",
        "never reached: one before it always is taken",
    ),
    ("SELECT CASE WHEN true THEN 1 ELSE @2 END AS x FROM \"t\"", "ELSE is never reached"),
    // FROM and FOREACH
    (
        "SELECT clientid FROM @\"$SYS/brokers/+/uptime\"",
        "run no rules by default `rule_engine.ignore_sys_message = false`",
    ),
    (
        "FOREACH @clientid AS c DO c FROM \"t\"",
        "FOREACH goes through an array, this is a text: it gives no rows",
    ),
    ("FOREACH @5 AS c DO c FROM \"t\"", "FOREACH goes through an array, this is a number"),
];

/// What is right and looks a little like the above.
const SOUND: &[&str] = &[
    "SELECT * FROM \"t\"",
    "SELECT payload.t AS t, t * 2 AS double FROM \"t\" WHERE double > 4 AND t < 100",
    "SELECT payload.a AS qos FROM \"t\" WHERE qos = 7",
    "SELECT metadata.rule_id AS r, event, node FROM \"t\"",
    "FOREACH payload.l DO item.x AS x, qos INCASE item.x > 1 FROM \"t\" WHERE payload.l[1].x > 0",
    "FOREACH payload AS p DO p FROM \"t\"",
    "FOREACH jq('.l[]', payload) AS p DO p FROM \"t\"",
    "SELECT clientid FROM \"a/+/c\", \"b/#\" WHERE topic =~ 'b/+' OR topic = 'a/1/c'",
    "SELECT reason, payload FROM \"$events/client/disconnected\", \"t\" WHERE event = 'client.disconnected'",
    "SELECT whatever AS w FROM \"$bridges/mqtt:plant\" WHERE whatever.x = 'a'",
    "SELECT clientid FROM \"t\" WHERE payload.a = 1 OR payload.a = 2",
    "SELECT clientid FROM \"t\" WHERE payload.a >= 5 AND payload.a <= 5",
    "SELECT clientid FROM \"t\" WHERE payload.a = 1 AND payload.a = '1'",
    "SELECT clientid FROM \"t\" WHERE qos IN (1, 2) AND clientid LIKE 'a%' AND qos <> 2",
    "SELECT clientid FROM \"t\" WHERE payload.ok AND NOT flags.retain",
    "SELECT clientid FROM \"t\" WHERE qos = '1' AND is_null(payload.x) = true AND lower(clientid) = 'dev-1'",
    "SELECT payload.l[1] AS x, payload.l[-1] AS y, payload.l[1..-1] AS z, 1 AS w[0] FROM \"t\"",
    "SELECT CASE WHEN qos = 1 THEN 1 WHEN qos = 2 THEN 2 ELSE 0 END AS x FROM \"t\"",
    "SELECT payload.a + 'x' AS x, 10 / payload.a AS y, username || '!' AS z FROM \"t\"",
    "SELECT regex_match(payload.a, '[0-9]+') AS c, nth(1, payload.l) AS n FROM \"t\" WHERE strlen(clientid) > 0",
];

#[test]
fn each_doubtful_rule_is_told_of_with_place_and_cause() {
    assert!(DOUBTFUL.len() >= 40);
    for (marked, words) in DOUBTFUL {
        let column = marked.find('@').expect("a mark") + 1;
        let sql = marked.replacen('@', "", 1);
        let plan = Plan::compile(&sql).unwrap_or_else(|errors| panic!("{sql}\n{errors}"));
        let said: Vec<String> = plan.warnings().iter().map(ToString::to_string).collect();
        let place = format!("line 1, column {column}: ");
        let found = plan.warnings().iter().zip(&said).find(|(_, said)| said.starts_with(&place));
        let Some((problem, text)) = found else { panic!("{marked}\nexpected `{place}` in {said:#?}") };
        let text = format!("{} {}", problem.message, text.rsplit_once("^  ").map_or("", |(_, hint)| hint));
        for part in words.split(" | ") {
            let all = part.split(' ').all(|word| text.contains(word));
            assert!(all, "{marked}\nexpected `{part}` in\n{text}");
        }
        assert_eq!(said.len(), 1, "{marked}\n{said:#?}");
    }
}

#[test]
fn only_what_cannot_work_is_an_error() {
    let severity = |sql: &str| Plan::compile(sql).expect("a rule").warnings()[0].severity;
    assert_eq!(severity("SELECT lowr(clientid) AS c FROM \"t\""), Severity::Error);
    assert_eq!(severity("SELECT upper() AS c FROM \"t\""), Severity::Error);
    assert_eq!(severity("SELECT temp FROM \"t\""), Severity::Warning);
}

#[test]
fn sound_rules_are_left_alone() {
    for sql in SOUND {
        let plan = Plan::compile(sql).unwrap_or_else(|errors| panic!("{sql}\n{errors}"));
        let said: Vec<String> = plan.warnings().iter().map(ToString::to_string).collect();
        assert!(said.is_empty(), "{sql}\n{}", said.join("\n"));
    }
}
