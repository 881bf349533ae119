//! The meaning of a table's columns, whoever wrote it: the plain type that each is read as, and the digest of its
//! values.
//!
//! | written as                                            | read and counted as                           |
//! |-------------------------------------------------------|-----------------------------------------------|
//! | large text, text views, dictionaries of text          | text; binary likewise                         |
//! | any other dictionary, runs                            | the values                                    |
//! | large lists, list views, lists of a fixed size        | lists                                         |
//! | numbers, booleans, dates, times, decimals, structs, maps | as they are: another width is another type |

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use crate::base::digest::FieldHasher;

/// The schema without metadata, with the plain type of each column.
pub fn plain_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|f| plain_field(f)).collect::<Fields>()))
}

fn plain_field(field: &Field) -> Field {
    Field::new(field.name(), plain_type(field.data_type()), field.is_nullable())
}

/// The type as which a column is read.
pub fn plain_type(ty: &DataType) -> DataType {
    use DataType::*;
    match ty {
        Utf8 | LargeUtf8 | Utf8View => Utf8,
        Binary | LargeBinary | BinaryView => Binary,
        Dictionary(_, values) => plain_type(values),
        RunEndEncoded(_, values) => plain_type(values.data_type()),
        List(item) | LargeList(item) | ListView(item) | LargeListView(item) | FixedSizeList(item, _) => {
            List(Arc::new(Field::new("item", plain_type(item.data_type()), true)))
        }
        Struct(fields) => Struct(fields.iter().map(|f| plain_field(f)).collect()),
        Map(entries, sorted) => Map(Arc::new(plain_field(entries)), *sorted),
        other => other.clone(),
    }
}

/// The column as its plain type.
///
/// # Errors
/// When it has no such form, such as more than 2 GiB of text in one column.
pub fn plain(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let ty = plain_type(column.data_type());
    if *column.data_type() == ty { Ok(column.clone()) } else { arrow::compute::cast(column, &ty) }
}

/// The batch with all columns as their plain types; `schema` is its [`plain_schema`].
///
/// # Errors
/// As [`plain`].
pub fn plain_batch(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

/// The name of a plain type in digests, for types without parts. `None`: a type that has no digest. These names must
/// never change, so they are written here rather than taken from a library.
fn type_name(ty: &DataType) -> Option<String> {
    use DataType::*;
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    let interval = |unit: &IntervalUnit| match unit {
        IntervalUnit::YearMonth => "months",
        IntervalUnit::DayTime => "days-ms",
        IntervalUnit::MonthDayNano => "months-days-ns",
    };
    let text = |text: &str| Some(text.to_owned());
    match ty {
        Boolean => text("Boolean"),
        Int8 => text("Int8"),
        Int16 => text("Int16"),
        Int32 => text("Int32"),
        Int64 => text("Int64"),
        UInt8 => text("UInt8"),
        UInt16 => text("UInt16"),
        UInt32 => text("UInt32"),
        UInt64 => text("UInt64"),
        Float16 => text("Float16"),
        Float32 => text("Float32"),
        Float64 => text("Float64"),
        Utf8 => text("Utf8"),
        Binary => text("Binary"),
        Null => text("Null"),
        FixedSizeBinary(size) => Some(format!("FixedBinary({size})")),
        Date32 => text("Date32"),
        Date64 => text("Date64"),
        Time32(u) => Some(format!("Time32({})", unit(u))),
        Time64(u) => Some(format!("Time64({})", unit(u))),
        Duration(u) => Some(format!("Duration({})", unit(u))),
        Timestamp(u, None) => Some(format!("Timestamp({})", unit(u))),
        Timestamp(u, Some(zone)) => Some(format!("Timestamp({}, {zone})", unit(u))),
        Interval(u) => Some(format!("Interval({})", interval(u))),
        Decimal32(precision, scale) => Some(format!("Decimal32({precision}, {scale})")),
        Decimal64(precision, scale) => Some(format!("Decimal64({precision}, {scale})")),
        Decimal128(precision, scale) => Some(format!("Decimal128({precision}, {scale})")),
        Decimal256(precision, scale) => Some(format!("Decimal256({precision}, {scale})")),
        _ => None,
    }
}

/// Hashes one column as it comes, in batches of any size: which rows are null, the lengths of what has a length, and
/// the values of the rows that are not null, each a stream of its own.
pub struct Column {
    ty: String,
    valid: blake3::Hasher,
    lengths: blake3::Hasher,
    values: blake3::Hasher,
    fields: Vec<(String, Column)>,
}

impl Column {
    /// Of columns of a plain type.
    ///
    /// # Errors
    /// The type below it that has no digest.
    pub fn new(ty: &DataType) -> Result<Self, DataType> {
        let (name, fields) = match ty {
            DataType::List(item) => ("list".to_owned(), vec![(String::new(), Column::new(item.data_type())?)]),
            DataType::Map(entries, _) => ("map".to_owned(), vec![(String::new(), Column::of_entries(entries)?)]),
            DataType::Struct(fields) => {
                let field = |f: &Arc<Field>| Ok((f.name().clone(), Column::new(f.data_type())?));
                ("struct".to_owned(), fields.iter().map(field).collect::<Result<_, DataType>>()?)
            }
            plain => (type_name(plain).ok_or_else(|| plain.clone())?, Vec::new()),
        };
        Ok(Self::named(name, fields))
    }

    /// The entries of a map. How a writer calls keys and values does not count.
    fn of_entries(entries: &Field) -> Result<Self, DataType> {
        let DataType::Struct(fields) = entries.data_type() else { return Err(entries.data_type().clone()) };
        let parts = std::iter::zip(["key", "value"], fields);
        let parts = parts.map(|(name, f)| Ok((name.to_owned(), Column::new(f.data_type())?)));
        Ok(Self::named("struct".to_owned(), parts.collect::<Result<_, DataType>>()?))
    }

    fn named(ty: String, fields: Vec<(String, Column)>) -> Self {
        let hasher = blake3::Hasher::new;
        Self { ty, valid: hasher(), lengths: hasher(), values: hasher(), fields }
    }

    /// The next rows.
    pub fn add(&mut self, array: &dyn Array) {
        let null = *array.data_type() == DataType::Null;
        let valid: Vec<u8> = (0..array.len()).map(|i| u8::from(!null && array.is_valid(i))).collect();
        self.valid.update(&valid);
        let rows = || (0..valid.len()).filter(|i| valid[*i] == 1);
        match array.data_type() {
            DataType::Null => {}
            DataType::Boolean => {
                let a = array.as_boolean();
                let bytes: Vec<u8> = rows().map(|i| u8::from(a.value(i))).collect();
                self.values.update(&bytes);
            }
            DataType::Utf8 => {
                let a = array.as_string::<i32>();
                rows().for_each(|i| self.blob(a.value(i).as_bytes()));
            }
            DataType::Binary => {
                let a = array.as_binary::<i32>();
                rows().for_each(|i| self.blob(a.value(i)));
            }
            DataType::FixedSizeBinary(_) => {
                let a = array.as_fixed_size_binary();
                rows().for_each(|i| self.blob(a.value(i)));
            }
            DataType::List(_) => {
                let a = array.as_list::<i32>();
                self.items(a.value_offsets(), a.values(), &valid);
            }
            DataType::Map(..) => {
                let a = array.as_map();
                self.items(a.value_offsets(), a.entries(), &valid);
            }
            DataType::Struct(_) => {
                let a = array.as_struct();
                for ((_, field), values) in self.fields.iter_mut().zip(a.columns()) {
                    if a.null_count() == 0 {
                        field.add(values.as_ref());
                    } else {
                        rows().for_each(|i| field.add(values.slice(i, 1).as_ref()));
                    }
                }
            }
            // Numbers, and whatever is kept as numbers: their bytes, little endian as the machine has them.
            numbers => {
                let width = numbers.primitive_width().expect("`Column::new` took no other type");
                let data = array.to_data();
                let values = &data.buffers()[0].as_slice()[data.offset() * width..];
                let bytes: Vec<u8> = rows().flat_map(|i| &values[i * width..(i + 1) * width]).copied().collect();
                self.values.update(&bytes);
            }
        }
    }

    /// The items of lists, which stand in `values` from each of `offsets` to the next.
    fn items(&mut self, offsets: &[i32], values: &dyn Array, valid: &[u8]) {
        let rows =
            || (0..valid.len()).filter(|i| valid[*i] == 1).map(|i| (offsets[i] as usize, offsets[i + 1] as usize));
        for (from, to) in rows() {
            self.lengths.update(&((to - from) as u64).to_le_bytes());
        }
        let item = &mut self.fields[0].1;
        if valid.iter().all(|valid| *valid == 1) && !valid.is_empty() {
            let (from, to) = (offsets[0] as usize, offsets[valid.len()] as usize);
            item.add(values.slice(from, to - from).as_ref());
        } else {
            rows().for_each(|(from, to)| item.add(values.slice(from, to - from).as_ref()));
        }
    }

    fn blob(&mut self, bytes: &[u8]) {
        self.lengths.update(&(bytes.len() as u64).to_le_bytes());
        self.values.update(bytes);
    }

    /// Adds the digest of the column.
    pub fn finish(&self, h: &mut FieldHasher) {
        h.field(self.ty.as_bytes());
        for stream in [&self.valid, &self.lengths, &self.values] {
            h.field(stream.finalize().as_bytes());
        }
        h.number(self.fields.len() as u64);
        for (name, field) in &self.fields {
            h.field(name.as_bytes());
            field.finish(h);
        }
    }
}
