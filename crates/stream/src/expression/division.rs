//! `/` divides as real numbers whatever the types, and a division by zero has no value: so it is from the second dialect on. DataFusion
//! leaves the fraction of integers out, and a zero there is an error that takes the whole answer with it.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::kernels::cmp::eq;
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::compute::nullif;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans `/` and `%` of numbers. While planning, since the planner itself asks for types before it is done.
#[derive(Debug)]
pub struct RealDivision;

impl ExprPlanner for RealDivision {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>, DataFusionError> {
        let part = match expr.op {
            BinaryOperator::Divide => Quotient::Whole,
            BinaryOperator::Modulo => Quotient::Rest,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        // What has no type yet is no number; planning says what is wrong with it.
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        let Some(common) = part.computed_in(&left, &right) else { return Ok(PlannerResult::Original(expr)) };
        let arguments = vec![expr.left.cast_to(&common, schema)?, expr.right.cast_to(&common, schema)?];
        let function = Arc::new(ScalarUDF::new_from_impl(Divided::new(part)));
        Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments))))
    }
}

/// What is asked of a division.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Quotient {
    Whole,
    Rest,
}

impl Quotient {
    /// The type of both sides and of the answer; `None`: they are no two numbers.
    fn computed_in(self, left: &DataType, right: &DataType) -> Option<DataType> {
        let may_be = |kind: &DataType| kind.is_numeric() || kind.is_null();
        if !may_be(left) || !may_be(right) || (left.is_null() && right.is_null()) {
            return None;
        }
        if self == Self::Whole || left.is_floating() || right.is_floating() {
            return Some(DataType::Float64);
        }
        let (left, right) = BinaryTypeCoercer::new(left, &Operator::Modulo, right).get_input_types().ok()?;
        (left == right).then_some(left)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Divided {
    part: Quotient,
    signature: Signature,
}

impl Divided {
    fn new(part: Quotient) -> Self {
        Self { part, signature: Signature::any(2, Volatility::Immutable) }
    }

    fn sign(&self) -> &'static str {
        match self.part {
            Quotient::Whole => "/",
            Quotient::Rest => "%",
        }
    }
}

impl ScalarUDFImpl for Divided {
    fn name(&self) -> &'static str {
        match self.part {
            Quotient::Whole => "divided",
            Quotient::Rest => "rest",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType, DataFusionError> {
        match types {
            [left, right] if left == right => Ok(left.clone()),
            _ => exec_err!("{} takes two numbers of one type", self.sign()),
        }
    }

    /// A column of an answer is called as it was written.
    fn schema_name(&self, args: &[Expr]) -> Result<String, DataFusionError> {
        match args {
            [left, right] => Ok(format!("{} {} {}", left.schema_name(), self.sign(), right.schema_name())),
            _ => exec_err!("{} takes two numbers", self.sign()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let [left, right] = args.args.as_slice() else { return exec_err!("{} takes two numbers", self.sign()) };
        let usable = |divisors: &ArrayRef| match self.part {
            Quotient::Whole => without_zeros(divisors),
            Quotient::Rest => without_minus_ones(without_zeros(divisors)?),
        };
        let right = match right {
            ColumnarValue::Array(divisors) => ColumnarValue::Array(usable(divisors)?),
            ColumnarValue::Scalar(divisor) => {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&usable(&divisor.to_array()?)?, 0)?)
            }
        };
        match self.part {
            Quotient::Whole => apply(left, &right, numeric::div),
            Quotient::Rest => apply(left, &right, numeric::rem),
        }
    }
}

fn without_zeros(divisors: &ArrayRef) -> Result<ArrayRef, DataFusionError> {
    let is_zero = match divisors.as_primitive_opt::<Float64Type>() {
        // Arrow tells the two zeros apart.
        Some(floats) => BooleanArray::from_unary(floats, |divisor| divisor == 0.0),
        None => eq(divisors, &ScalarValue::new_zero(divisors.data_type())?.to_scalar()?)?,
    };
    Ok(nullif(divisors.as_ref(), &is_zero)?)
}

/// By −1 and by 1 the same is left, nothing; Arrow finds that the least integer has no quotient by −1.
fn without_minus_ones(divisors: ArrayRef) -> Result<ArrayRef, DataFusionError> {
    let kind = divisors.data_type();
    if !kind.is_signed_integer() {
        return Ok(divisors);
    }
    let is_minus_one = eq(&divisors, &ScalarValue::new_negative_one(kind)?.to_scalar()?)?;
    Ok(zip(&is_minus_one, &ScalarValue::new_one(kind)?.to_scalar()?, &divisors)?)
}
