//! Pretty.
use crate::ast::Expr;
/// p
#[must_use]
pub fn pretty(expr: &Expr) -> String {
    expr.to_string()
}
