//! Integer arithmetic that does not fit its type is an error. DataFusion wraps it: so `+`, `-` and `*` of integers become functions of
//! Arrow's checked kernels before anything is folded or planned, and `<<` and `>>` of checked shifts. (`sum` is in `query::sum`.)

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, downcast_integer};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::compute::try_binary;
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
pub struct CheckedIntegers;

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
    ShiftLeft,
    ShiftRight,
}

impl Arithmetic {
    /// Division and its rest are checked by DataFusion itself.
    fn of(operator: Operator) -> Option<Self> {
        match operator {
            Operator::Plus => Some(Self::Add),
            Operator::Minus => Some(Self::Subtract),
            Operator::Multiply => Some(Self::Multiply),
            Operator::BitwiseShiftLeft => Some(Self::ShiftLeft),
            Operator::BitwiseShiftRight => Some(Self::ShiftRight),
            _ => None,
        }
    }

    fn operator(self) -> Operator {
        match self {
            Self::Add => Operator::Plus,
            Self::Subtract => Operator::Minus,
            Self::Multiply => Operator::Multiply,
            Self::ShiftLeft => Operator::BitwiseShiftLeft,
            Self::ShiftRight => Operator::BitwiseShiftRight,
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Add | Self::Subtract | Self::Multiply => "cast one side to double or decimal",
            Self::ShiftLeft | Self::ShiftRight => "shift by fewer bits",
        }
    }
}

/// By less than the width of the type, and so that no bit is lost on the left.
fn shift(
    left: &ColumnarValue,
    right: &ColumnarValue,
    shifted: fn(i128, u32) -> i128,
) -> Result<ColumnarValue, DataFusionError> {
    let is_constant = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
    let sides = ColumnarValue::values_to_arrays(&[left.clone(), right.clone()])?;
    let [left, right] = sides.as_slice() else { return exec_err!("a shift takes two integers") };
    macro_rules! shift_of {
        ($kind:ty) => {
            shift_arrays::<$kind>(left, right, shifted)?
        };
    }
    let computed = downcast_integer! {
        left.data_type() => (shift_of),
        other => return exec_err!("{other} is not shifted"),
    };
    Ok(match is_constant {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&computed, 0)?),
        false => ColumnarValue::Array(computed),
    })
}

fn shift_arrays<T: ArrowPrimitiveType>(
    left: &ArrayRef,
    right: &ArrayRef,
    shifted: fn(i128, u32) -> i128,
) -> Result<ArrayRef, ArrowError>
where
    T::Native: Into<i128> + TryFrom<i128>,
{
    let width = 8 * size_of::<T::Native>();
    let one = |number: T::Native, by: T::Native| {
        let by = u32::try_from(by.into()).ok().filter(|by| (*by as usize) < width);
        let number = by.and_then(|by| T::Native::try_from(shifted(number.into(), by)).ok());
        number.ok_or_else(|| ArrowError::ArithmeticOverflow("a shift".to_owned()))
    };
    let computed: PrimitiveArray<T> = try_binary(left.as_primitive::<T>(), right.as_primitive::<T>(), one)?;
    Ok(Arc::new(computed))
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
            Arithmetic::ShiftLeft => "checked_shift_left",
            Arithmetic::ShiftRight => "checked_shift_right",
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
            Arithmetic::ShiftLeft => shift(left, right, |number, by| number << by),
            Arithmetic::ShiftRight => shift(left, right, |number, by| number >> by),
        };
        computed.map_err(|error| match error.find_root() {
            DataFusionError::ArrowError(cause, _) if matches!(**cause, ArrowError::ArithmeticOverflow(_)) => {
                DataFusionError::Execution(format!(
                    "an integer is out of range in {} {} …: {}",
                    shown(left),
                    self.arithmetic.operator(),
                    self.arithmetic.remedy()
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
