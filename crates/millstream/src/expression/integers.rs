//! Integer arithmetic that does not fit its type is an error. DataFusion wraps it: so `+`, `-` and `*` of integers become functions of
//! Arrow's checked kernels before anything is folded or planned. (`sum` is in `query::sum`.)

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, ScalarValue, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::physical_expr_common::datum::apply;

/// Makes the operators of integers checked functions.
#[derive(Debug)]
pub(crate) struct CheckedIntegers;

impl FunctionRewrite for CheckedIntegers {
    fn name(&self) -> &'static str {
        "checked_integers"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>, DataFusionError> {
        let (arithmetic, left, right) = match &expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match Arithmetic::of(*op) {
                Some(arithmetic) => (arithmetic, left.as_ref().clone(), right.as_ref().clone()),
                None => return Ok(Transformed::no(expr)),
            },
            // The least integer has no opposite.
            Expr::Negative(inner) => (Arithmetic::Subtract, zero_of(inner, schema), inner.as_ref().clone()),
            _ => return Ok(Transformed::no(expr)),
        };
        // What has no type yet is no integer that is computed here; planning says what is wrong with it.
        let (Ok(from), Ok(to)) = (left.get_type(schema), right.get_type(schema)) else {
            return Ok(Transformed::no(expr));
        };
        let may_be = |kind: &DataType| kind.is_integer() || kind.is_null();
        if !may_be(&from) || !may_be(&to) || (from.is_null() && to.is_null()) {
            return Ok(Transformed::no(expr));
        }
        let operator = arithmetic.operator();
        let (from, to) = BinaryTypeCoercer::new(&from, &operator, &to).get_input_types()?;
        if from != to || !from.is_integer() {
            return Ok(Transformed::no(expr));
        }
        let function = Arc::new(ScalarUDF::new_from_impl(Checked::new(arithmetic)));
        let arguments = vec![left.cast_to(&from, schema)?, right.cast_to(&to, schema)?];
        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments))))
    }
}

/// Of the same type, where it is an integer.
fn zero_of(inner: &Expr, schema: &DFSchema) -> Expr {
    let zero = inner.get_type(schema).and_then(|kind| ScalarValue::new_zero(&kind));
    Expr::Literal(zero.unwrap_or(ScalarValue::Null), None)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
}

impl Arithmetic {
    /// Division and its rest are checked by DataFusion itself.
    fn of(operator: Operator) -> Option<Self> {
        match operator {
            Operator::Plus => Some(Self::Add),
            Operator::Minus => Some(Self::Subtract),
            Operator::Multiply => Some(Self::Multiply),
            _ => None,
        }
    }

    fn operator(self) -> Operator {
        match self {
            Self::Add => Operator::Plus,
            Self::Subtract => Operator::Minus,
            Self::Multiply => Operator::Multiply,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    arithmetic: Arithmetic,
    signature: Signature,
}

impl Checked {
    fn new(arithmetic: Arithmetic) -> Self {
        Self { arithmetic, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        match self.arithmetic {
            Arithmetic::Add => "checked_add",
            Arithmetic::Subtract => "checked_subtract",
            Arithmetic::Multiply => "checked_multiply",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType, DataFusionError> {
        match types {
            [left, right] if left == right => Ok(left.clone()),
            _ => exec_err!("{} takes two integers of one type", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let [left, right] = args.args.as_slice() else { return exec_err!("{} takes two integers", self.name()) };
        let computed = match self.arithmetic {
            Arithmetic::Add => apply(left, right, numeric::add),
            Arithmetic::Subtract => apply(left, right, numeric::sub),
            Arithmetic::Multiply => apply(left, right, numeric::mul),
        };
        computed.map_err(|error| match error.find_root() {
            DataFusionError::ArrowError(cause, _) if matches!(**cause, ArrowError::ArithmeticOverflow(_)) => {
                DataFusionError::Execution(format!(
                    "an integer is out of range in {} {} …: cast one side to double or decimal",
                    shown(left),
                    self.arithmetic.operator()
                ))
            }
            _ => error,
        })
    }
}

/// A constant is said, a column only called one.
fn shown(value: &ColumnarValue) -> String {
    match value {
        ColumnarValue::Scalar(value) => value.to_string(),
        ColumnarValue::Array(_) => "…".to_owned(),
    }
}
