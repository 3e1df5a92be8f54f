//! `sum` of integers adds in 128 bits and looks at the end whether its type holds the total: DataFusion's own wraps.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::{DataFusionError, ScalarValue, exec_err, not_impl_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature};

/// Holds the sum of as many integers as there can be.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// `sum`, of integers with a total that is checked; of all else DataFusion's own.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct CheckedSum(Sum);

/// What an accumulator of integers is told instead: that it adds decimals.
struct Wide {
    returned: FieldRef,
    given: Vec<FieldRef>,
}

impl Wide {
    fn of(args: &AccumulatorArgs) -> Self {
        let wide = |field: &FieldRef| Arc::new(Field::new(field.name(), WIDE, true));
        Self { returned: wide(&args.return_field), given: args.expr_fields.iter().map(wide).collect() }
    }

    fn args<'a>(&'a self, args: &AccumulatorArgs<'a>) -> AccumulatorArgs<'a> {
        AccumulatorArgs {
            return_field: Arc::clone(&self.returned),
            expr_fields: &self.given,
            schema: args.schema,
            ignore_nulls: args.ignore_nulls,
            order_bys: args.order_bys,
            is_reversed: args.is_reversed,
            name: args.name,
            is_distinct: args.is_distinct,
            exprs: args.exprs,
        }
    }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType, DataFusionError> {
        self.0.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>, DataFusionError> {
        let Some(of) = Integers::of(args.return_type()) else { return self.0.accumulator(args) };
        let inner = self.0.accumulator(Wide::of(&args).args(&args))?;
        Ok(Box::new(IntegerSum { of, inner }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>, DataFusionError> {
        if Integers::of(args.return_field.data_type()).is_none() {
            return self.0.state_fields(args);
        }
        let return_field = Arc::new(Field::new(args.return_field.name(), WIDE, true));
        self.0.state_fields(StateFieldsArgs { return_field, ..args })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>, DataFusionError> {
        let Some(of) = Integers::of(args.return_type()) else { return self.0.create_groups_accumulator(args) };
        let inner = self.0.create_groups_accumulator(Wide::of(&args).args(&args))?;
        Ok(Box::new(IntegerSums { of, inner }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>, DataFusionError> {
        let Some(of) = Integers::of(args.return_type()) else { return self.0.create_sliding_accumulator(args) };
        if args.is_distinct {
            return not_impl_err!("sum(distinct …) of integers over a window that moves");
        }
        let inner = self.0.create_sliding_accumulator(Wide::of(&args).args(&args))?;
        Ok(Box::new(IntegerSum { of, inner }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }
}

/// The two types that sums of integers have.
#[derive(Debug, Clone, Copy)]
enum Integers {
    Signed,
    Unsigned,
}

impl Integers {
    fn of(kind: &DataType) -> Option<Self> {
        match kind {
            DataType::Int64 => Some(Self::Signed),
            DataType::UInt64 => Some(Self::Unsigned),
            _ => None,
        }
    }

    fn widen(self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>, DataFusionError> {
        let [values] = values else { return exec_err!("sum takes one column") };
        let wide: Decimal128Array = match self {
            Self::Signed => values.as_primitive::<Int64Type>().unary::<_, Decimal128Type>(i128::from),
            Self::Unsigned => values.as_primitive::<UInt64Type>().unary::<_, Decimal128Type>(i128::from),
        };
        Ok(vec![Arc::new(wide.with_data_type(WIDE))])
    }

    fn narrow(self, total: ScalarValue) -> Result<ScalarValue, DataFusionError> {
        let ScalarValue::Decimal128(total, ..) = total else { return exec_err!("sum of integers is {total}") };
        Ok(match self {
            Self::Signed => ScalarValue::Int64(total.map(fit).transpose()?),
            Self::Unsigned => ScalarValue::UInt64(total.map(fit).transpose()?),
        })
    }

    fn narrow_all(self, totals: &ArrayRef) -> Result<ArrayRef, DataFusionError> {
        match self {
            Self::Signed => narrowed::<Int64Type>(totals),
            Self::Unsigned => narrowed::<UInt64Type>(totals),
        }
    }
}

fn narrowed<T: ArrowPrimitiveType>(totals: &ArrayRef) -> Result<ArrayRef, DataFusionError>
where
    T::Native: TryFrom<i128>,
{
    Ok(Arc::new(totals.as_primitive::<Decimal128Type>().try_unary::<_, T, _>(fit::<T::Native>)?))
}

fn fit<T: TryFrom<i128>>(total: i128) -> Result<T, DataFusionError> {
    T::try_from(total).map_err(|_| {
        DataFusionError::Execution(format!(
            "a sum of integers is out of range: {total}; cast them to double or decimal"
        ))
    })
}

/// Wide within; its intermediate states are wide too.
#[derive(Debug)]
struct IntegerSum {
    of: Integers,
    inner: Box<dyn Accumulator>,
}

impl Accumulator for IntegerSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<(), DataFusionError> {
        self.inner.update_batch(&self.of.widen(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue, DataFusionError> {
        self.of.narrow(self.inner.evaluate()?)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>, DataFusionError> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<(), DataFusionError> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<(), DataFusionError> {
        self.inner.retract_batch(&self.of.widen(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// The same of many groups at once.
struct IntegerSums {
    of: Integers,
    inner: Box<dyn GroupsAccumulator>,
}

impl GroupsAccumulator for IntegerSums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
    ) -> Result<(), DataFusionError> {
        self.inner.update_batch(&self.of.widen(values)?, groups, filter, n_groups)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef, DataFusionError> {
        self.of.narrow_all(&self.inner.evaluate(emit)?)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>, DataFusionError> {
        self.inner.state(emit)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], n_groups: usize) -> Result<(), DataFusionError> {
        self.inner.merge_batch(states, groups, n_groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>, DataFusionError> {
        self.inner.convert_to_state(&self.of.widen(values)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
