//! Pickles as `torch.save` writes them, read as data. A pickle is a program for a stack machine that may call whatever
//! it names; this machine has no calls. It knows the few names that a dictionary of tensors needs, builds plain values
//! of them, and refuses the file at the first other name or instruction. Work and memory are bounded by the pickle's
//! length: values refer to each other by number, nothing is copied, nothing recurses.

use safetensors::Dtype;

/// A value; containers and tensors are numbers of [`Heap`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A float.
    Float(f64),
    /// A text.
    Str(&'a str),
    /// A name that may be used.
    Global(Global),
    /// A reference to a block of numbers that lies beside the pickle.
    Storage(Storage<'a>),
    /// Items of a tuple.
    Tuple(usize),
    /// Items of a list.
    List(usize),
    /// Pairs of a dictionary, one after the other.
    Dict(usize),
    /// A tensor.
    Tensor(usize),
}

/// A block of numbers outside of the pickle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storage<'a> {
    /// Its name there.
    pub key: &'a str,
    /// The type of its elements.
    pub dtype: Dtype,
    /// How many.
    pub len: usize,
}

/// A view of a storage: an element lies at `offset` and the sum of its indices times `strides`.
#[derive(Clone, Debug, PartialEq)]
pub struct View<'a> {
    /// Where the elements are.
    pub storage: Storage<'a>,
    /// The first of them.
    pub offset: usize,
    /// Sizes, slowest first.
    pub shape: Vec<usize>,
    /// Steps between neighbours, in elements.
    pub strides: Vec<usize>,
}

/// The names that may be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`.
    RebuildParameter,
    /// `torch.FloatStorage` and its like.
    StorageOf(Dtype),
}

const GLOBALS: &[(&str, &str, Global)] = &[
    ("collections", "OrderedDict", Global::OrderedDict),
    ("torch._utils", "_rebuild_tensor", Global::RebuildTensor),
    ("torch._utils", "_rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils", "_rebuild_parameter", Global::RebuildParameter),
    ("torch", "FloatStorage", Global::StorageOf(Dtype::F32)),
    ("torch", "HalfStorage", Global::StorageOf(Dtype::F16)),
    ("torch", "BFloat16Storage", Global::StorageOf(Dtype::BF16)),
    ("torch", "DoubleStorage", Global::StorageOf(Dtype::F64)),
    ("torch", "LongStorage", Global::StorageOf(Dtype::I64)),
    ("torch", "IntStorage", Global::StorageOf(Dtype::I32)),
    ("torch", "ShortStorage", Global::StorageOf(Dtype::I16)),
    ("torch", "CharStorage", Global::StorageOf(Dtype::I8)),
    ("torch", "ByteStorage", Global::StorageOf(Dtype::U8)),
    ("torch", "BoolStorage", Global::StorageOf(Dtype::BOOL)),
];

/// A value that a pickle made.
#[derive(Debug, Default)]
pub struct Heap<'a> {
    /// Items of tuples, lists and dictionaries.
    pub items: Vec<Vec<Value<'a>>>,
    /// Tensors.
    pub tensors: Vec<View<'a>>,
}

/// Why a pickle is refused, in a phrase.
pub type Refused = String;

/// Runs the pickle at the beginning of `bytes`: its value, and how many bytes it takes.
///
/// # Errors
/// A name or an instruction that is not needed for a dictionary of tensors; bytes that are no pickle.
pub fn read<'a>(bytes: &'a [u8], heap: &mut Heap<'a>) -> Result<(Value<'a>, usize), Refused> {
    let mut machine = Machine { bytes, at: 0, heap, stack: Vec::new(), marks: Vec::new(), memo: Vec::new() };
    loop {
        if let Some(value) = machine.step()? {
            return Ok((value, machine.at));
        }
    }
}

struct Machine<'a, 'h> {
    bytes: &'a [u8],
    at: usize,
    heap: &'h mut Heap<'a>,
    stack: Vec<Value<'a>>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: Vec<Option<Value<'a>>>,
}

impl<'a> Machine<'a, '_> {
    /// One instruction. A value: the pickle has ended.
    fn step(&mut self) -> Result<Option<Value<'a>>, Refused> {
        match self.byte()? {
            // Protocol, frame: nothing to do.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'.' => return self.pop().map(Some),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => self.int(1)?,
            b'M' => self.int(2)?,
            b'J' => self.int(4)?,
            0x8a => {
                let len = self.number(1)?;
                if len > 8 {
                    return Err("it has a whole number of more than 64 bits".into());
                }
                let bytes = self.take(len)?;
                let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
                let mut wide = [if negative { 0xff } else { 0 }; 8];
                wide[..len].copy_from_slice(bytes);
                self.stack.push(Value::Int(i64::from_le_bytes(wide)));
            }
            b'G' => {
                let bytes = self.take(8)?.try_into().expect("eight bytes");
                self.stack.push(Value::Float(f64::from_be_bytes(bytes)));
            }
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            b']' => self.container(Value::List, Vec::new()),
            b'}' => self.container(Value::Dict, Vec::new()),
            b')' => self.container(Value::Tuple, Vec::new()),
            b'(' => self.marks.push(self.stack.len()),
            b't' => {
                let items = self.since_mark()?;
                self.container(Value::Tuple, items);
            }
            n @ 0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(n - 0x84)).ok_or_else(cut)?;
                let items = self.stack.split_off(from);
                self.container(Value::Tuple, items);
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' | b'u' => {
                let items = self.since_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend(vec![key, value])?;
            }
            b'q' => self.put(1)?,
            b'r' => self.put(4)?,
            0x94 => {
                let top = *self.stack.last().ok_or_else(cut)?;
                self.memo.push(Some(top));
            }
            b'h' => self.get(1)?,
            b'j' => self.get(4)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Str(name), Value::Str(module)) => self.global(module, name)?,
                _ => return Err(cut()),
            },
            b'Q' => self.storage()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            other => return Err(format!("it has the instruction {other:#04x}, which no file of weights needs")),
        }
        Ok(None)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Refused> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len()).ok_or_else(cut)?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Refused> {
        Ok(self.take(1)?[0])
    }

    /// A number of `width` bytes without sign.
    fn number(&mut self, width: usize) -> Result<usize, Refused> {
        Ok(self.take(width)?.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b)))
    }

    fn int(&mut self, width: usize) -> Result<(), Refused> {
        let number = self.number(width)? as i64;
        // Of these only the one of four bytes has a sign.
        let number = if width == 4 { i64::from(number as i32) } else { number };
        self.stack.push(Value::Int(number));
        Ok(())
    }

    fn text(&mut self, width: usize) -> Result<(), Refused> {
        let len = self.number(width)?;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| "it has a text that is not UTF-8".to_owned())?;
        self.stack.push(Value::Str(text));
        Ok(())
    }

    fn line(&mut self) -> Result<&'a str, Refused> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().take(256).position(|&b| b == b'\n').ok_or_else(cut)?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| cut())
    }

    fn pop(&mut self) -> Result<Value<'a>, Refused> {
        if self.marks.last().is_some_and(|&mark| self.stack.len() <= mark) {
            return Err(cut());
        }
        self.stack.pop().ok_or_else(cut)
    }

    fn since_mark(&mut self) -> Result<Vec<Value<'a>>, Refused> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len()).ok_or_else(cut)?;
        Ok(self.stack.split_off(mark))
    }

    fn container(&mut self, of: fn(usize) -> Value<'a>, items: Vec<Value<'a>>) {
        self.heap.items.push(items);
        self.stack.push(of(self.heap.items.len() - 1));
    }

    /// Adds to the list or dictionary on top.
    fn extend(&mut self, items: Vec<Value<'a>>) -> Result<(), Refused> {
        match self.stack.last() {
            Some(Value::Dict(_)) if !items.len().is_multiple_of(2) => Err(cut()),
            Some(Value::Dict(at) | Value::List(at)) => {
                self.heap.items[*at].extend(items);
                Ok(())
            }
            _ => Err(cut()),
        }
    }

    fn put(&mut self, width: usize) -> Result<(), Refused> {
        let at = self.number(width)?;
        let top = *self.stack.last().ok_or_else(cut)?;
        // A number per instruction at most: what is larger was not written by a pickler.
        if at > self.bytes.len() {
            return Err(cut());
        }
        if at >= self.memo.len() {
            self.memo.resize(at + 1, None);
        }
        self.memo[at] = Some(top);
        Ok(())
    }

    fn get(&mut self, width: usize) -> Result<(), Refused> {
        let at = self.number(width)?;
        let value = self.memo.get(at).copied().flatten().ok_or_else(cut)?;
        self.stack.push(value);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Refused> {
        let known = GLOBALS.iter().find(|(m, n, _)| (*m, *n) == (module, name));
        let (.., global) =
            known.ok_or_else(|| format!("it names `{module}.{name}`, which no file of weights needs"))?;
        self.stack.push(Value::Global(*global));
        Ok(())
    }

    fn items(&self, value: Value<'a>) -> Result<&[Value<'a>], Refused> {
        match value {
            Value::Tuple(at) | Value::List(at) => Ok(&self.heap.items[at]),
            _ => Err(cut()),
        }
    }

    /// A reference to what lies outside: `("storage", type, key, place, length)` and perhaps `None`.
    fn storage(&mut self) -> Result<(), Refused> {
        let id = self.pop()?;
        let storage = match self.items(id)? {
            [Value::Str("storage"), Value::Global(Global::StorageOf(dtype)), Value::Str(key), _, Value::Int(len)]
            | [
                Value::Str("storage"),
                Value::Global(Global::StorageOf(dtype)),
                Value::Str(key),
                _,
                Value::Int(len),
                Value::None,
            ] => Storage { key, dtype: *dtype, len: usize::try_from(*len).map_err(|_| cut())? },
            _ => return Err("it refers to a storage in a way that is not known".into()),
        };
        self.stack.push(Value::Storage(storage));
        Ok(())
    }

    /// A call of one of the names that may be used, with a tuple of arguments.
    fn reduce(&mut self) -> Result<(), Refused> {
        let (arguments, called) = (self.pop()?, self.pop()?);
        let arguments = self.items(arguments)?;
        match (called, arguments) {
            (Value::Global(Global::OrderedDict), []) => self.container(Value::Dict, Vec::new()),
            (Value::Global(Global::RebuildParameter), [tensor @ Value::Tensor(_), ..]) => {
                let tensor = *tensor;
                self.stack.push(tensor);
            }
            (
                Value::Global(Global::RebuildTensor),
                [Value::Storage(storage), Value::Int(offset), shape @ Value::Tuple(_), strides @ Value::Tuple(_), ..],
            ) => {
                let view = View {
                    storage: *storage,
                    offset: usize::try_from(*offset).map_err(|_| cut())?,
                    shape: self.sizes(*shape)?,
                    strides: self.sizes(*strides)?,
                };
                self.heap.tensors.push(view);
                self.stack.push(Value::Tensor(self.heap.tensors.len() - 1));
            }
            _ => return Err("it calls something in a way that no file of weights needs".into()),
        }
        Ok(())
    }

    fn sizes(&self, value: Value<'a>) -> Result<Vec<usize>, Refused> {
        let size = |value: &Value| match value {
            Value::Int(n) => usize::try_from(*n).map_err(|_| "a tensor has a negative size or stride".to_owned()),
            _ => Err(cut()),
        };
        self.items(value)?.iter().map(size).collect()
    }

    /// State on top of a value. A dictionary of tensors has its version numbers there, which nobody needs.
    fn build(&mut self) -> Result<(), Refused> {
        self.pop()?;
        match self.stack.last() {
            Some(Value::Dict(_)) => Ok(()),
            _ => Err("it sets the state of an object, which no file of weights needs".into()),
        }
    }
}

fn cut() -> Refused {
    "the pickle is cut short or damaged".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bytes: &[u8]) -> Result<(), Refused> {
        read(bytes, &mut Heap::default()).map(drop)
    }

    #[test]
    fn plain_values() {
        let mut heap = Heap::default();
        let pickle = b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x07X\x01\x00\x00\x00bJ\xfe\xff\xff\xffX\x01\x00\x00\x00c\x8a\x02\x00\xffu.rest";
        let (value, len) = read(pickle, &mut heap).unwrap();
        assert_eq!((value, len), (Value::Dict(0), pickle.len() - 4));
        let ints = [Value::Int(7), Value::Int(-2), Value::Int(-256)];
        assert_eq!(heap.items[0].iter().skip(1).step_by(2).copied().collect::<Vec<_>>(), ints);
    }

    /// `os.system("…")`, as the well-known attack has it, and what else a pickle must not ask for.
    #[test]
    fn nothing_is_called() {
        let attack = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.";
        assert_eq!(run(attack).unwrap_err(), "it names `posix.system`, which no file of weights needs");
        let by_stack = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.";
        assert_eq!(run(by_stack).unwrap_err(), "it names `builtins.eval`, which no file of weights needs");
        assert!(run(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.").unwrap_err().starts_with("it calls something"));
        assert!(run(b"(S'x'\no.").unwrap_err().contains("instruction 0x53"));
        assert!(run(b"\x80\x02ccollections\nOrderedDict\n}b.").unwrap_err().starts_with("it sets the state"));
        assert!(run(b"\x80\x02K\x01Q.").is_err());
    }

    #[test]
    fn damaged_pickles_are_errors() {
        let whole: &[u8] = b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x07u.";
        for end in 0..whole.len() {
            assert!(run(&whole[..end]).is_err(), "{end}");
        }
        for bad in [&b"."[..], b"t.", b"\x87.", b"(.", b"s.", b"h\x05.", b"]K\x01s.", b"r\xff\xff\xff\x7f.", b"K\x01("]
        {
            assert!(run(bad).is_err(), "{bad:?}");
        }
        // Deep nesting costs no stack of ours.
        let deep: Vec<u8> = std::iter::once(b')').chain(std::iter::repeat_n(0x85, 1_000_000)).chain([b'.']).collect();
        assert!(run(&deep).is_ok());
    }
}
