//! Table artifacts: parquet, zstd, a fixed row group size and our own `created_by`, so that equal tables give equal
//! bytes. Column types: booleans, whole numbers, floats, text, binary, and lists and structs of these.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::base::diag::{Class, Diag};
use crate::base::digest::{Digest, FieldHasher};
use crate::base::fs;

use super::{malformed, replace, unwritable};

/// Rows in a row group, whatever the version of the parquet crate prefers.
const ROW_GROUP: usize = 64 * 1024;

/// Writes `batch`. Metadata of its schema is left out.
///
/// # Errors
/// When the file cannot be written; a bug when a column has a type that tables do not have.
pub fn write(path: &Path, batch: &RecordBatch) -> Result<(), Diag> {
    let schema = plain_schema(&batch.schema());
    for field in schema.fields() {
        supported(field.data_type())
            .map_err(|t| unwritable(path, format_args!("column `{}` has type {t}", field.name())))?;
    }
    let columns = batch.columns().iter().zip(schema.fields()).map(|(c, f)| arrow::compute::cast(c, f.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|e| unwritable(path, e))?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch =
        RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|e| unwritable(path, e))?;
    let properties = WriterProperties::builder()
        .set_created_by("dpt table 1".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a level")))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .build();
    replace(path, |file| {
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(|e| failed(path, e))?;
        writer.write(&batch).map_err(|e| failed(path, e))?;
        writer.close().map_err(|e| failed(path, e))?;
        Ok(())
    })
}

/// A parquet error while writing: most are the disk's.
fn failed(path: &Path, error: parquet::errors::ParquetError) -> Diag {
    use parquet::errors::ParquetError::External;
    match error {
        External(source) => match source.downcast::<std::io::Error>() {
            Ok(io) => fs::on("write", path)(*io).into(),
            Err(other) => unwritable(path, other),
        },
        other => unwritable(path, other),
    }
}

/// Reads the whole table.
///
/// # Errors
/// When the file cannot be read or is not parquet.
pub fn read(path: &Path) -> Result<RecordBatch, Diag> {
    let (schema, reader) = open(path)?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|e| malformed(path, "a parquet table", e))?;
    concat_batches(&schema, &batches).map_err(|e| malformed(path, "a parquet table", e))
}

/// Column `name` as an array of type `A` (`StringArray`, `ListArray`, …).
///
/// # Errors
/// When there is no such column, or it has another type: names the columns that there are.
pub fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A, Diag> {
    let Some(column) = batch.column_by_name(name) else {
        let has: Vec<_> = batch.schema().fields().iter().map(|f| format!("`{}`", f.name())).collect();
        return Err(Diag::error(Class::Stage, format!("the table has no column `{name}`"))
            .note(format!("it has {}", has.join(", "))));
    };
    column.as_any().downcast_ref().ok_or_else(|| {
        Diag::error(
            Class::Stage,
            format!("column `{name}` has type {}, wanted {}", column.data_type(), std::any::type_name::<A>()),
        )
    })
}

/// The digest of schema and values: independent of compression, row groups, encodings and metadata.
///
/// # Errors
/// When the file cannot be read, is not parquet, or has a column type that tables do not have.
pub fn logical_digest(path: &Path) -> Result<Digest, Diag> {
    let (schema, reader) = open(path)?;
    let mut columns = Vec::new();
    for field in schema.fields() {
        supported(field.data_type())
            .map_err(|t| malformed(path, "a table of ours", format_args!("column `{}` has type {t}", field.name())))?;
        columns.push(Column::new(field.data_type()));
    }
    let mut rows = 0;
    for batch in reader {
        let batch = batch.map_err(|e| malformed(path, "a parquet table", e))?;
        rows += batch.num_rows() as u64;
        for (column, values) in columns.iter_mut().zip(batch.columns()) {
            column.add(values.as_ref());
        }
    }
    let mut h = FieldHasher::new("dpt.table.1");
    h.number(rows).number(columns.len() as u64);
    for (field, column) in schema.fields().iter().zip(&columns) {
        h.field(field.name().as_bytes()).field(&[u8::from(field.is_nullable())]);
        column.finish(&mut h);
    }
    Ok(h.finish())
}

fn open(path: &Path) -> Result<(SchemaRef, ParquetRecordBatchReader), Diag> {
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(fs::open(path)?).map_err(|e| malformed(path, "a parquet table", e))?;
    let schema = builder.schema().clone();
    let reader = builder.with_batch_size(16 * 1024).build().map_err(|e| malformed(path, "a parquet table", e))?;
    Ok((schema, reader))
}

/// The schema without metadata, lists' elements called `item` and nullable.
fn plain_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|f| plain_field(f)).collect::<Fields>()))
}

fn plain_field(field: &Field) -> Field {
    Field::new(field.name(), plain_type(field.data_type()), field.is_nullable())
}

fn plain_type(ty: &DataType) -> DataType {
    match ty {
        DataType::List(item) => DataType::List(Arc::new(Field::new("item", plain_type(item.data_type()), true))),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| plain_field(f)).collect()),
        other => other.clone(),
    }
}

/// The first type below `ty` that tables do not have.
fn supported(ty: &DataType) -> Result<(), DataType> {
    use DataType::*;
    match ty {
        Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32 | Float64 | Utf8
        | Binary => Ok(()),
        List(item) => supported(item.data_type()),
        Struct(fields) => fields.iter().try_for_each(|f| supported(f.data_type())),
        other => Err(other.clone()),
    }
}

/// Hashes one column as it comes, in batches of any size: which rows are null, the lengths of what has a length, and
/// the values of the rows that are not null, each a stream of its own.
struct Column {
    ty: String,
    valid: blake3::Hasher,
    lengths: blake3::Hasher,
    values: blake3::Hasher,
    fields: Vec<(String, Column)>,
}

impl Column {
    fn new(ty: &DataType) -> Self {
        let (name, fields) = match ty {
            DataType::List(item) => ("list".to_owned(), vec![(String::new(), Column::new(item.data_type()))]),
            DataType::Struct(fields) => {
                ("struct".to_owned(), fields.iter().map(|f| (f.name().clone(), Column::new(f.data_type()))).collect())
            }
            plain => (format!("{plain:?}"), Vec::new()),
        };
        let hasher = blake3::Hasher::new;
        Self { ty: name, valid: hasher(), lengths: hasher(), values: hasher(), fields }
    }

    fn add(&mut self, array: &dyn Array) {
        let valid: Vec<u8> = (0..array.len()).map(|i| u8::from(array.is_valid(i))).collect();
        self.valid.update(&valid);
        let rows = || (0..valid.len()).filter(|i| valid[*i] == 1);
        macro_rules! plain {
            ($($ty:ident => $arrow:ident),*) => {
                match array.data_type() {
                    DataType::Boolean => {
                        let a = array.as_boolean();
                        let bytes: Vec<u8> = rows().map(|i| u8::from(a.value(i))).collect();
                        self.values.update(&bytes);
                    }
                    $(DataType::$ty => {
                        let a = array.as_primitive::<arrow::datatypes::$arrow>();
                        let bytes: Vec<u8> = rows().flat_map(|i| a.value(i).to_le_bytes()).collect();
                        self.values.update(&bytes);
                    })*
                    DataType::Utf8 => {
                        let a = array.as_string::<i32>();
                        rows().for_each(|i| self.blob(a.value(i).as_bytes()));
                    }
                    DataType::Binary => {
                        let a = array.as_binary::<i32>();
                        rows().for_each(|i| self.blob(a.value(i)));
                    }
                    DataType::List(_) => {
                        let a = array.as_list::<i32>();
                        for i in rows() {
                            self.lengths.update(&(a.value_length(i) as u64).to_le_bytes());
                        }
                        let offsets = a.value_offsets();
                        let item = &mut self.fields[0].1;
                        if a.null_count() == 0 && !a.is_empty() {
                            let (from, to) = (offsets[0] as usize, offsets[a.len()] as usize);
                            item.add(a.values().slice(from, to - from).as_ref());
                        } else {
                            rows().for_each(|i| item.add(a.value(i).as_ref()));
                        }
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
                    other => unreachable!("`supported` let {other} pass"),
                }
            };
        }
        plain!(Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type,
               UInt8 => UInt8Type, UInt16 => UInt16Type, UInt32 => UInt32Type, UInt64 => UInt64Type,
               Float32 => Float32Type, Float64 => Float64Type);
    }

    fn blob(&mut self, bytes: &[u8]) {
        self.lengths.update(&(bytes.len() as u64).to_le_bytes());
        self.values.update(bytes);
    }

    fn finish(&self, h: &mut FieldHasher) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float32Array, Int32Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;

    fn sample(rows: i32) -> RecordBatch {
        let ids = (0..rows).map(|i| (i % 5 != 0).then(|| (0..i % 4).map(Some).collect::<Vec<_>>()));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("row {i}"))))),
            ("ids", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(ids))),
            ("label", Arc::new(Int32Array::from_iter((0..rows).map(|i| (i % 3 != 0).then_some(i))))),
            ("loss", Arc::new(Float32Array::from_iter_values((0..rows).map(|i| i as f32 / 7.0)))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn round_trip_and_same_bytes_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("1.parquet"), dir.path().join("2.parquet"));
        for rows in [0, 1, 100] {
            let batch = sample(rows);
            write(&one, &batch).unwrap();
            write(&two, &batch).unwrap();
            assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
            assert_eq!(read(&one).unwrap().columns(), batch.columns());
        }
        let batch = read(&one).unwrap();
        assert_eq!(column::<StringArray>(&batch, "id").unwrap().value(3), "row 3");
        let error = column::<StringArray>(&batch, "idx").unwrap_err();
        assert_eq!(error.notes, ["it has `id`, `ids`, `label`, `loss`"]);
        assert!(column::<StringArray>(&batch, "label").is_err());
    }

    /// The same rows by another writer: other compression, row groups and `created_by`.
    fn write_otherwise(path: &Path, batch: &RecordBatch) {
        let properties = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_max_row_group_row_count(Some(7))
            .set_dictionary_enabled(false)
            .build();
        let file = std::fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        for from in (0..batch.num_rows()).step_by(3) {
            writer.write(&batch.slice(from, 3.min(batch.num_rows() - from))).unwrap();
        }
        writer.close().unwrap();
    }

    #[test]
    fn container_keeps_the_digest_values_order_and_schema_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        let digest = |batch: &RecordBatch| {
            write(&path, batch).unwrap();
            logical_digest(&path).unwrap()
        };
        let batch = sample(50);
        let ours = digest(&batch);
        write_otherwise(&path, &batch);
        assert_eq!(logical_digest(&path).unwrap(), ours);
        assert_ne!(digest(&sample(51)), ours);
        assert_ne!(digest(&batch.project(&[1, 0, 2, 3]).unwrap()), ours);
        let one = |name: &str, array: ArrayRef| digest(&RecordBatch::try_from_iter([(name, array)]).unwrap());
        let ints = one("a", Arc::new(Int32Array::from(vec![1, 2])));
        assert_ne!(one("b", Arc::new(Int32Array::from(vec![1, 2]))), ints);
        assert_ne!(one("a", Arc::new(Int32Array::from(vec![2, 1]))), ints);
        assert_ne!(
            one("a", Arc::new(Int32Array::from(vec![Some(1), Some(2)]))),
            one("a", Arc::new(Int32Array::from(vec![Some(1), None])))
        );
        let texts = |t: [&str; 2]| one("a", Arc::new(StringArray::from(t.to_vec())));
        assert_ne!(texts(["ab", "c"]), texts(["a", "bc"]));
    }

    #[test]
    fn damage_and_foreign_types_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        write(&path, &sample(9)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(read(&path).unwrap_err().message.contains("t.parquet` is not a parquet table"));
        let dates: ArrayRef = Arc::new(arrow::array::Date32Array::from(vec![1]));
        let error = write(&path, &RecordBatch::try_from_iter([("day", dates)]).unwrap()).unwrap_err();
        assert!(error.message.contains("column `day` has type Date32"), "{error}");
    }
}
