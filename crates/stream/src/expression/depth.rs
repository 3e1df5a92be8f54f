//! How deep an expression may be nested. A sum of a hundred columns is a hundred levels: parsing, planning and computing call
//! themselves once for each, so that what is deep gets a stack of its own, and what is too deep for that is refused.

/// Longer texts are parsed and planned on a stack of their own; in fewer bytes are fewer than `FLAT_LEVELS` levels.
pub const FLAT_BYTES: usize = 64;
/// Of a text; what is parsed of it lies on the stack once more when it is dropped.
pub const TEXT_BYTES: usize = 64 << 10;
/// Expressions within one another that any thread's stack holds, also in a debug build.
pub const FLAT_LEVELS: usize = 32;
pub const LEVELS: usize = 500;
/// A level takes some 30 KB in a debug build. Only what is touched is memory.
const STACK_BYTES: usize = 64 << 20;

/// What `work` answers on a stack that holds `LEVELS`, or why there is none.
pub fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let named = std::thread::Builder::new().name("expression".to_owned()).stack_size(STACK_BYTES);
        let started = named.spawn_scoped(scope, work);
        let thread = started.map_err(|error| format!("no thread can be started for it: {error}"))?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch};
    use datafusion::arrow::datatypes::Float64Type;

    use super::*;
    use crate::expression::{Expression, ExpressionFault};
    use millstream_untrusted::model::Dialect;

    fn rows() -> RecordBatch {
        let column: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0]));
        RecordBatch::try_from_iter([("a", column)]).unwrap()
    }

    /// On the stack of a thread that is not asked for more: 2 MiB.
    #[test]
    fn a_long_sum_is_computed_and_a_longer_one_refused() {
        let rows = rows();
        for terms in [2, 30, 100, LEVELS - 1] {
            let sum = Expression::compile(&vec!["a"; terms].join(" + "), &rows.schema(), Dialect::CURRENT).unwrap();
            let found = sum.rebind(&rows.schema()).unwrap().evaluate(&rows).unwrap();
            let whole = u32::try_from(terms).map(f64::from).unwrap();
            assert_eq!(found.as_primitive::<Float64Type>().values().to_vec(), [whole, 2.0 * whole], "{terms}");
        }
        for (operator, terms) in [("+", LEVELS + 1), ("+", 13_000), ("or a =", 5_000), ("||", 13_000), ("->", 13_000)] {
            let text = vec!["a"; terms].join(&format!(" {operator} "));
            let fault = Expression::compile(&text, &rows.schema(), Dialect::CURRENT).unwrap_err().fault;
            assert_eq!(fault, ExpressionFault::TooDeep { most: LEVELS }, "{operator} {terms}");
        }
        let text = vec!["a"; 40_000].join("+");
        let fault = Expression::compile(&text, &rows.schema(), Dialect::CURRENT).unwrap_err();
        assert_eq!(fault.fault, ExpressionFault::TooLong { found: text.len(), most: TEXT_BYTES });
        assert!(fault.to_string().len() < 200, "{fault}");
    }

    #[test]
    fn whatever_is_nested_ends_in_a_value_or_an_error() {
        let rows = rows();
        let nested = [("- ", ""), ("not ", ""), ("(", ")"), ("abs(", ")"), ("case when a > 0 then ", " else 1 end")];
        for (open, close) in nested {
            for levels in [10, 40, 400, 3_000] {
                let text = format!("{}a{}", open.repeat(levels), close.repeat(levels));
                if let Ok(expression) = Expression::compile(&text, &rows.schema(), Dialect::CURRENT) {
                    assert!(levels <= LEVELS, "{open} {levels}");
                    assert_eq!(expression.evaluate(&rows).unwrap().len(), 2, "{open} {levels}");
                }
            }
        }
    }
}
