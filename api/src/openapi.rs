//! The description of the interface (OpenAPI).

use std::fmt::Write as _;

use utoipa::PartialSchema;
use utoipa::openapi::path::{HttpMethod, Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, Required,
    ResponseBuilder,
};

use crate::Api;
use crate::web::ErrorBody;

/// Where the error body is described.
const ERROR: &str = "Error";

/// The frame that the endpoints are put into.
pub(crate) fn base(api: &Api) -> OpenApi {
    let components = ComponentsBuilder::new()
        .schema(ERROR, ErrorBody::schema())
        .security_scheme("basic", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)))
        .security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)))
        .build();
    let info = InfoBuilder::new()
        .title("Sluice management interface")
        .version(api.settings().version.clone())
        .description(Some(
            "Programs use Basic authentication with an API key and its secret; people use a Bearer token from `POST /login`.",
        ))
        .build();
    let security = ["basic", "bearer"].map(|name| SecurityRequirement::new(name, Vec::<String>::new()));
    OpenApiBuilder::new().info(info).components(Some(components)).security(Some(security)).build()
}

/// Adds what every operation has: the parameters of its path, and the error answer.
pub(crate) fn finish(mut description: OpenApi) -> OpenApi {
    for (path, item) in &mut description.paths.paths {
        for (_, operation) in operations_mut(item) {
            add_path_parameters(path, operation);
            let error = ResponseBuilder::new()
                .description("Any error")
                .content("application/json", Content::new(Some(Ref::from_schema_name(ERROR))))
                .build();
            operation.responses.responses.insert("default".to_owned(), RefOr::T(error));
        }
    }
    description
}

/// The description as JSON text.
pub(crate) fn to_json(description: &OpenApi) -> Vec<u8> {
    serde_json::to_vec(description).expect("a description is plain data with text keys")
}

/// A small page that lists every operation.
pub(crate) fn page(description: &OpenApi) -> String {
    let mut rows = String::new();
    for (path, item) in &description.paths.paths {
        for (method, operation) in operations(item) {
            let summary = operation.summary.as_deref().unwrap_or_default();
            let _ = writeln!(
                rows,
                "<tr><td><b>{method}</b></td><td><code>{}</code></td><td>{}</td></tr>",
                escape(path),
                escape(summary)
            );
        }
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>\
         body{{font-family:sans-serif;margin:2em}}td{{padding:.2em 1em .2em 0;vertical-align:top}}</style></head>\
         <body><h1>{title} {version}</h1><p>The whole description: \
         <a href=\"/api-docs/swagger.json\">swagger.json</a> (OpenAPI).</p><table>{rows}</table></body></html>",
        title = escape(&description.info.title),
        version = escape(&description.info.version),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn operations(item: &PathItem) -> impl Iterator<Item = (&'static str, &Operation)> {
    let all = [("GET", &item.get), ("POST", &item.post), ("PUT", &item.put), ("DELETE", &item.delete)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    let all = [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Delete, &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn add_path_parameters(path: &str, operation: &mut Operation) {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters = operation.parameters.get_or_insert_default();
    for name in names {
        let is_described =
            parameters.iter().any(|known| matches!(known, RefOr::T(known) if known.name == name));
        if is_described {
            continue;
        }
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(text))
            .build();
        parameters.push(RefOr::T(parameter));
    }
}
