//! Table artifacts: parquet, zstd, a fixed row group size and our own `created_by`, so that equal tables give equal
//! bytes. Types of columns that are written: booleans, whole numbers, floats, text, binary, and lists and structs of
//! these. Tables of others are read in whichever of parquet's compressions and types they are written.

use std::path::Path;

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::base::caught::caught;
use crate::base::diag::{Class, Diag};
use crate::base::digest::{Digest, FieldHasher};
use crate::base::fs;

use super::columns::{self, Column};
use super::unfit::{CUT_SHORT, Unfit};
use super::write::{replace, unwritable};

/// The name of this format in messages.
const WHAT: &str = "a parquet table";

/// Rows in a row group, whatever the version of the parquet crate prefers.
const ROW_GROUP: usize = 64 * 1024;

/// Writes `batch`. Metadata of its schema is left out.
///
/// # Errors
/// When the file cannot be written; a bug when a column has a type that tables do not have.
pub fn write(path: &Path, batch: &RecordBatch) -> Result<(), Diag> {
    let schema = columns::plain_schema(&batch.schema());
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
fn failed(path: &Path, error: ParquetError) -> Diag {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(io) => fs::on("write", path)(*io).into(),
            Err(other) => unwritable(path, other),
        },
        other => unwritable(path, other),
    }
}

/// Reads the whole table, each column as its plain type ([`columns`]), whoever wrote it.
///
/// # Errors
/// When the file cannot be read or is not parquet.
pub fn read(path: &Path) -> Result<RecordBatch, Diag> {
    let read = by_batches(path, |schema, batches| {
        let plain = |batch: Result<RecordBatch, _>| batch.and_then(|batch| columns::plain_batch(schema, &batch));
        concat_batches(schema, &batches.map(plain).collect::<Result<Vec<_>, _>>()?).map_err(Into::into)
    })?;
    read.map_err(|unfit| unfit.diag(path))
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

/// The digest of schema and values: independent of compression, row groups, encodings, metadata, and of which of
/// several forms of a type a writer prefers ([`columns`]).
///
/// # Errors
/// When the file cannot be read, is not parquet, or has a column type that has no digest.
pub fn logical_digest(path: &Path) -> Result<Digest, Diag> {
    meaning(path)?.map_err(|unfit| unfit.diag(path))
}

/// As [`logical_digest`]; the outer error is the disk's.
///
/// # Errors
/// When the file cannot be read.
pub fn meaning(path: &Path) -> Result<Result<Digest, Unfit>, Diag> {
    by_batches(path, |schema, batches| {
        let mut hashers = Vec::new();
        for field in schema.fields() {
            hashers.push(Column::new(field.data_type()).map_err(|ty| {
                let why = format!("column `{}` has type {ty}", field.name());
                Unfit { what: "a table whose values have a digest", why, help: None }
            })?);
        }
        let mut rows = 0;
        for batch in batches {
            let batch = columns::plain_batch(schema, &batch?)?;
            rows += batch.num_rows() as u64;
            for (column, values) in hashers.iter_mut().zip(batch.columns()) {
                column.add(values.as_ref());
            }
        }
        let mut h = FieldHasher::new("dpt.table.1");
        h.number(rows).number(hashers.len() as u64);
        for (field, column) in schema.fields().iter().zip(&hashers) {
            h.field(field.name().as_bytes()).field(&[u8::from(field.is_nullable())]);
            column.finish(&mut h);
        }
        Ok(h.finish())
    })
}

/// Why a table could not be read to its end.
enum Stop {
    Said(Unfit),
    By(String),
}

impl From<ArrowError> for Stop {
    fn from(error: ArrowError) -> Self {
        Stop::By(error.to_string())
    }
}

impl From<ParquetError> for Stop {
    fn from(error: ParquetError) -> Self {
        Stop::By(error.to_string())
    }
}

impl From<Unfit> for Stop {
    fn from(unfit: Unfit) -> Self {
        Stop::Said(unfit)
    }
}

/// Hands the plain schema, and the batches as they lie in the file, to `take`. The outer error is the disk's. The
/// library panics over some damaged files: that is an answer like its errors.
fn by_batches<T>(
    path: &Path,
    take: impl FnOnce(&SchemaRef, ParquetRecordBatchReader) -> Result<T, Stop>,
) -> Result<Result<T, Unfit>, Diag> {
    let file = fs::open(path)?;
    let unfit = |why: &dyn std::fmt::Display| {
        let unfit = Unfit::new(path, WHAT, why);
        if ends_as_parquet(path) { unfit } else { unfit.or_help(CUT_SHORT) }
    };
    let result = caught(|| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let schema = columns::plain_schema(builder.schema());
        let reader = builder.with_batch_size(16 * 1024).build()?;
        take(&schema, reader)
    });
    Ok(match result {
        Ok(Ok(taken)) => Ok(taken),
        Ok(Err(Stop::Said(unfit))) => Err(unfit),
        Ok(Err(Stop::By(error))) => Err(unfit(&error)),
        Err(panic) => Err(unfit(&format_args!("it is damaged ({panic})"))),
    })
}

/// Returns `true` if the file ends like a parquet file, or does not begin like one.
fn ends_as_parquet(path: &Path) -> bool {
    use std::io::{Read, Seek, SeekFrom};
    let magic = |from: SeekFrom| {
        let mut four = [0; 4];
        let mut file = fs::open(path).ok()?;
        file.seek(from).and_then(|_| file.read_exact(&mut four)).ok()?;
        Some(four == *b"PAR1")
    };
    magic(SeekFrom::Start(0)) != Some(true) || magic(SeekFrom::End(-4)) == Some(true)
}

/// The first type below `ty` that tables of ours do not have.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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

    /// A file as another writer makes it: compression, and the types as they are.
    fn write_as(path: &Path, batch: &RecordBatch, compression: Compression) {
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut writer =
            ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn digest_of_a_table_does_not_change_between_releases() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        write(&path, &sample(50)).unwrap();
        assert_eq!(
            logical_digest(&path).unwrap().hex(),
            "a56fe485b8af75d4014af7d6a23428657099a98ed30ba327ea431e5ce19dd77f"
        );
    }

    #[test]
    fn every_compression_gives_the_same_table() {
        use parquet::basic::{BrotliLevel, GzipLevel};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        let batch = sample(50);
        write(&path, &batch).unwrap();
        let ours = logical_digest(&path).unwrap();
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::BROTLI(BrotliLevel::default()),
            Compression::LZ4,
            Compression::LZ4_RAW,
            Compression::ZSTD(ZstdLevel::default()),
        ] {
            write_as(&path, &batch, compression);
            assert_eq!(logical_digest(&path).unwrap(), ours, "{compression:?}");
            assert_eq!(read(&path).unwrap().columns(), batch.columns(), "{compression:?}");
        }
    }

    /// A nullable column of each type that other writers have, by a name; those of one group mean the same.
    fn foreign() -> Vec<(&'static str, Vec<ArrayRef>)> {
        use arrow::array::{
            BinaryViewArray, DictionaryArray, FixedSizeListArray, LargeBinaryArray, LargeListArray, LargeStringArray,
            StringViewArray,
        };
        let texts = vec![Some("a"), None, Some("ü"), Some("a")];
        let bytes: Vec<Option<&[u8]>> = vec![Some(b"a"), None, Some(b"\xff"), Some(b"")];
        let lists = vec![Some(vec![Some(1), Some(2)]), None, Some(vec![Some(3), None]), Some(vec![Some(4), Some(5)])];
        let one = |array: ArrayRef| vec![array];
        let of = |ty: DataType, numbers: [Option<i64>; 4]| {
            let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from(numbers.to_vec()));
            one(arrow::compute::cast(&numbers, &ty).unwrap())
        };
        let ints = [Some(1), None, Some(3), Some(100)];
        let (nano, milli) = (arrow::datatypes::TimeUnit::Nanosecond, arrow::datatypes::TimeUnit::Millisecond);
        vec![
            (
                "text",
                vec![
                    Arc::new(StringArray::from(texts.clone())),
                    Arc::new(LargeStringArray::from(texts.clone())),
                    Arc::new(StringViewArray::from(texts.clone())),
                    Arc::new(texts.iter().copied().collect::<DictionaryArray<Int32Type>>()),
                ],
            ),
            (
                "binary",
                vec![
                    Arc::new(arrow::array::BinaryArray::from(bytes.clone())),
                    Arc::new(LargeBinaryArray::from(bytes.clone())),
                    Arc::new(bytes.iter().copied().collect::<BinaryViewArray>()),
                ],
            ),
            (
                "list",
                vec![
                    Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists.clone())),
                    Arc::new(LargeListArray::from_iter_primitive::<Int32Type, _, _>(lists.clone())),
                    Arc::new(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(lists, 2)),
                ],
            ),
            ("bool", one(Arc::new(arrow::array::BooleanArray::from(vec![Some(true), None, Some(false), None])))),
            ("null", one(Arc::new(arrow::array::NullArray::new(4)))),
            ("int8", of(DataType::Int8, ints)),
            ("uint64", of(DataType::UInt64, ints)),
            ("float16", of(DataType::Float16, ints)),
            ("date32", of(DataType::Date32, ints)),
            ("time", of(DataType::Time64(nano), ints)),
            ("timestamp", of(DataType::Timestamp(nano, None), ints)),
            ("timestamp ms", of(DataType::Timestamp(milli, None), ints)),
            ("timestamp with a zone", of(DataType::Timestamp(nano, Some("UTC".into())), ints)),
            ("duration", of(DataType::Duration(nano), ints)),
            ("decimal128", of(DataType::Decimal128(20, 2), ints)),
            ("decimal256", of(DataType::Decimal256(50, 2), ints)),
            ("struct", one(structs())),
            ("map", one(maps())),
        ]
    }

    fn structs() -> ArrayRef {
        let inner: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
        let field = arrow::datatypes::Field::new("x", DataType::Utf8, true);
        let nulls = vec![true, false, true, true].into();
        Arc::new(arrow::array::StructArray::new(vec![field].into(), vec![inner], Some(nulls)))
    }

    fn maps() -> ArrayRef {
        use arrow::array::{Int32Builder, MapBuilder, StringBuilder};
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        for row in 0..4 {
            for n in 0..row {
                map.keys().append_value(format!("k{n}"));
                map.values().append_value(n);
            }
            map.append(row != 1).unwrap();
        }
        Arc::new(map.finish())
    }

    #[test]
    fn every_type_that_others_write_has_a_digest_of_its_values() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        let digest = |array: &ArrayRef, compression| {
            let batch = RecordBatch::try_from_iter_with_nullable([("c", array.clone(), true)]).unwrap();
            write_as(&path, &batch, compression);
            logical_digest(&path).unwrap_or_else(|e| panic!("{:?}: {e}", array.data_type()))
        };
        let mut seen = Vec::new();
        for (name, forms) in foreign() {
            let first = digest(&forms[0], Compression::SNAPPY);
            for form in &forms {
                assert_eq!(digest(form, Compression::UNCOMPRESSED), first, "{name}: {:?}", form.data_type());
                let read = read(&path).unwrap();
                assert_eq!(*read.column(0).data_type(), columns::plain_type(forms[0].data_type()), "{name}");
            }
            assert!(!seen.contains(&first), "{name} has the digest of another type");
            seen.push(first);
            if name == "null" {
                continue;
            }
            let other = arrow::compute::take(&forms[0], &Int32Array::from(vec![3, 1, 2, 0]), None).unwrap();
            assert!(name == "text" || name == "bool" || digest(&other, Compression::SNAPPY) != first, "{name}");
        }
    }

    #[test]
    fn no_damage_to_a_table_makes_its_reader_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        write_as(&path, &sample(9), Compression::SNAPPY);
        let whole = std::fs::read(&path).unwrap();
        let ours = logical_digest(&path).unwrap();
        let damaged = |at: &usize| {
            let mut damaged = whole.clone();
            damaged[*at] ^= 0xff;
            std::fs::write(&path, damaged).unwrap();
            meaning(&path).unwrap() != Ok(ours)
        };
        let told = (0..whole.len()).filter(damaged).count();
        assert!(told > whole.len() / 4, "{told} of {}", whole.len());
    }

    #[test]
    fn file_that_is_no_table_is_said_to_be_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        write(&path, &sample(9)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let said = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err();
            assert_eq!(logical_digest(&path).unwrap_err().message, error.message);
            error
        };
        let pointer = said(b"version https://git-lfs.github.com/spec/v1\n");
        assert!(pointer.message.contains("is not a parquet table: it is a Git LFS pointer"), "{pointer}");
        assert!(said(b"<html>").message.contains("it is a web page"));
        assert!(said(b"").message.contains("it is empty"));
        assert_eq!(said(&whole[..whole.len() / 2]).help.as_deref(), Some(CUT_SHORT));
        let other = said(b"a,b\n1,2\n3,4\n");
        assert_eq!(other.help, None, "{other}");
    }
}
