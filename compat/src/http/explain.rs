//! `/api/v1/query_explain` and `/api/v1/query_range_explain`: the plan of a query as a tree, in Thanos's shape.
//!
//! The engine prints its plan as lines, two spaces deeper for each level; here they become `{name, children}`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use engine::QueryRequest;
use serde::Serialize;

use super::Api;
use super::answer::success_json;
use super::error::ApiError;
use super::params::Params;
use super::query::{enter_gate, instant_request, range_request};
use super::scope::Scope;

/// The plan of an instant query.
pub async fn instant(State(api): State<Arc<Api>>, Scope(scope): Scope, params: Params) -> Result<Response, ApiError> {
    explain(&api, instant_request(&api, scope, &params)?).await
}

/// The plan of a range query.
pub async fn range(State(api): State<Arc<Api>>, Scope(scope): Scope, params: Params) -> Result<Response, ApiError> {
    explain(&api, range_request(&api, scope, &params)?).await
}

/// Planning looks for the series of every selector, so it waits at the gate as a query does.
async fn explain(api: &Api, mut request: QueryRequest) -> Result<Response, ApiError> {
    let _pass = enter_gate(api, &mut request).await?;
    success_json(&tree(&api.engine.explain(request).await?))
}

/// An operator and its inputs.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Operator {
    name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Operator>,
}

/// Turns indented lines into a tree. Several lines of the outermost level get a common root.
fn tree(text: &str) -> Operator {
    let mut open: Vec<(usize, Operator)> = vec![(0, Operator { name: "plan".to_owned(), children: Vec::new() })];
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let name = line.trim_start();
        let level = (line.len() - name.len()) / 2 + 1;
        while open.last().is_some_and(|(other, _)| *other >= level) {
            close_last(&mut open);
        }
        open.push((level, Operator { name: name.to_owned(), children: Vec::new() }));
    }
    while open.len() > 1 {
        close_last(&mut open);
    }
    let mut root = open.pop().map(|(_, operator)| operator).unwrap_or_default();
    if root.children.len() == 1 { root.children.remove(0) } else { root }
}

fn close_last(open: &mut Vec<(usize, Operator)>) {
    if let Some((_, done)) = open.pop()
        && let Some((_, parent)) = open.last_mut()
    {
        parent.children.push(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indentation_becomes_a_tree() {
        let leaf = |name: &str| Operator { name: name.to_owned(), children: Vec::new() };
        let got = tree("Join\n  Window\n    Scan a\n  Scan b\n");
        let window = Operator { name: "Window".to_owned(), children: vec![leaf("Scan a")] };
        assert_eq!(got, Operator { name: "Join".to_owned(), children: vec![window, leaf("Scan b")] });
        assert_eq!(tree("a\nb").children, [leaf("a"), leaf("b")]);
        assert_eq!(tree(""), leaf("plan"));
    }
}
