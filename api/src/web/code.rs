//! The table of error codes.

use http::StatusCode;

macro_rules! codes {
    ($($variant:ident = $status:literal $name:literal $summary:literal;)*) => {
        /// A word by which programs know an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $(#[doc = $summary] $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status that usually goes with it.
            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$variant => const {
                        match StatusCode::from_u16($status) {
                            Ok(status) => status,
                            Err(_) => panic!("the table holds valid statuses"),
                        }
                    },)*
                }
            }

            /// What it says, in a sentence.
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)* }
            }
        }
    };
}

codes! {
    BadRequest = 400 "BAD_REQUEST" "The request is not valid.";
    InvalidParams = 400 "INVALID_PARAMS" "A parameter is not valid.";
    InvalidParameter = 400 "INVALID_PARAMETER" "A parameter is out of its range.";
    AlreadyExists = 400 "ALREADY_EXISTS" "An object of that name exists.";
    BadListenerId = 400 "BAD_LISTENER_ID" "The id is not one of a listener.";
    BadTopic = 400 "BAD_TOPIC" "The topic is not valid.";
    TestFailed = 400 "TEST_FAILED" "The trial connection failed.";
    BadUsernameOrPassword = 401 "BAD_USERNAME_OR_PWD" "User name or password is wrong.";
    BadApiKeyOrSecret = 401 "BAD_API_KEY_OR_SECRET" "API key or secret is wrong, expired or disabled.";
    ApiKeyNotAllowed = 401 "API_KEY_NOT_ALLOW" "This path cannot be used with an API key.";
    AuthorizationHeader = 401 "AUTHORIZATION_HEADER_ERROR" "The Authorization header is missing or not understood.";
    TokenTimeOut = 401 "TOKEN_TIME_OUT" "The token has expired.";
    BadToken = 401 "BAD_TOKEN" "The token is not known.";
    WrongTokenOrUsername = 401 "WRONG_TOKEN_OR_USERNAME" "The token belongs to another user.";
    LoginLocked = 401 "LOGIN_LOCKED" "Too many failed logins; try again later.";
    UnauthorizedRole = 403 "UNAUTHORIZED_ROLE" "The role does not allow this.";
    Forbidden = 403 "FORBIDDEN" "This is not allowed.";
    EditionRequired = 403 "EDITION_REQUIRED" "The connector type belongs to another edition.";
    NotFound = 404 "NOT_FOUND" "There is no such object or path.";
    ClientIdNotFound = 404 "CLIENTID_NOT_FOUND" "There is no client with that id.";
    RuleNotFound = 404 "RULE_NOT_FOUND" "There is no rule with that id.";
    TopicNotFound = 404 "TOPIC_NOT_FOUND" "Nobody subscribes to that topic.";
    UserNotFound = 404 "USER_NOT_FOUND" "There is no user of that name.";
    MethodNotAllowed = 405 "METHOD_NOT_ALLOWED" "The path does not have this method.";
    Conflict = 409 "CONFLICT" "The object cannot be changed in this way.";
    NotMatch = 412 "NOT_MATCH" "The rule gives nothing for this event.";
    ExceedLimit = 413 "EXCEED_LIMIT" "A limit is exceeded.";
    UnsupportedMediaType = 415 "UNSUPPORTED_MEDIA_TYPE" "The body is not of a type that is understood.";
    InternalError = 500 "INTERNAL_ERROR" "Something failed inside the server.";
    NotImplemented = 501 "NOT_IMPLEMENTED" "This version does not have it yet.";
    ServiceUnavailable = 503 "SERVICE_UNAVAILABLE" "The server cannot do it now.";
}
