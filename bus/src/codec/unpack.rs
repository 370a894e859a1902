//! Rows out of bytes that anybody may have written.
//!
//! Arrow's reader checks what it reads, but it believes the sizes that the bytes announce and
//! allocates by them, and a few of its paths assert. So the message headers are vetted here first:
//! every buffer within the body, every length and the sum of what unpacks within bounds, one schema
//! and one batch. What is left to go wrong inside the reader is caught.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_ipc::{
    BodyCompression, BodyCompressionArgs, Buffer, Endianness, FieldNode, Message, MessageArgs,
    MessageHeader, MetadataVersion, RecordBatch as IpcBatch, RecordBatchArgs, root_as_message,
};
use arrow_schema::{ArrowError, DataType, Schema};
use flatbuffers::FlatBufferBuilder;
use model::stream::Def;

use super::{MAX_PAYLOAD, MAX_UNPACKED, short};

/// More fields than any stream has by far: the schema of a stranger is read before it is compared.
const MAX_FIELDS: usize = 1024;

/// Metadata of one message: a schema of [`MAX_FIELDS`] long names fits.
const MAX_META: usize = 1 << 20;

/// What every buffer's place in the body is a multiple of (Arrow columnar format, encapsulated messages).
const ALIGNED: i64 = 8;

/// What stands before the length of a message.
const CONTINUES: u32 = u32::MAX;

/// Bytes of one offset of a text or a list.
const OFFSET_BYTES: u64 = 4;

/// The rows of `def` in an Arrow IPC stream. Columns after those we know are left out, and optional
/// ones that the writer did not know yet are unset; the batch has exactly `def.schema()`.
///
/// Tells too whether the stream has those columns and no others.
///
/// # Errors
/// What is wrong with the bytes, for the dead letter.
pub(super) fn unpack(def: &'static Def, bytes: &[u8]) -> Result<(RecordBatch, bool), String> {
    if bytes.len() > MAX_PAYLOAD {
        return Err(format!("{} bytes, more than the {MAX_PAYLOAD} of a record", bytes.len()));
    }
    let (theirs, buffers) = vet(bytes)?;
    let known = compare(def, &theirs)?;
    fit(def, known, &buffers)?;
    let rows = catch_unwind(AssertUnwindSafe(|| read(bytes, known)))
        .map_err(|_| "the Arrow reader gave up".to_owned())?
        .map_err(|e| format!("Arrow: {}", short(&e.to_string())))?;
    let rows = adopt(def, &rows)
        .map_err(|e| format!("rows of {}: {}", def.name, short(&e.to_string())))?;
    Ok((rows, theirs == *def.schema()))
}

/// Of a stream that [`unpack`] has read, the first columns alone, those of `def`: they stay packed as they are. `None` where
/// they do not lie one after another.
pub(super) fn narrow(def: &'static Def, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes;
    next_message(&mut rest).ok()??;
    let (message, body) = next_message(&mut rest).ok()??;
    let batch = message.header_as_record_batch()?;
    let schema = def.schema();
    let fields = || schema.fields().iter().map(|field| field.data_type());
    let nodes = fields().map(columns).sum::<usize>();
    let buffers = fields().map(|kind| Some(cell_widths(kind)?.len())).sum::<Option<usize>>()?;
    let (all_nodes, all) = (batch.nodes()?, batch.buffers()?);
    if nodes > all_nodes.len() || buffers > all.len() {
        return None;
    }
    let kept = || all.iter().take(buffers);
    let end = kept().map(|b| b.offset().saturating_add(b.length())).max()?;
    let end = u64::try_from(end).ok()?.checked_next_multiple_of(ALIGNED as u64)?;
    let body = body.get(..usize::try_from(end).ok()?)?;
    let end = i64::try_from(end).ok()?;

    let mut out = head(&schema).ok()?;
    let said = say(&batch, (nodes, buffers), end);
    out.extend(CONTINUES.to_le_bytes());
    // The body begins at a multiple as well.
    let length = said.len().checked_next_multiple_of(ALIGNED as usize)?;
    out.extend(u32::try_from(length).ok()?.to_le_bytes());
    out.extend(&said);
    out.resize(out.len() + length - said.len(), 0);
    out.extend(body);
    out.extend(CONTINUES.to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    Some(out)
}

/// The message of a batch that has the first nodes and buffers of another, in a body of this length.
fn say(batch: &IpcBatch<'_>, (nodes, buffers): (usize, usize), body: i64) -> Vec<u8> {
    let mut text = FlatBufferBuilder::new();
    let nodes: Vec<FieldNode> = batch.nodes().iter().flatten().take(nodes).copied().collect();
    let buffers: Vec<Buffer> = batch.buffers().iter().flatten().take(buffers).copied().collect();
    let compression = batch.compression().map(|how| {
        let args = BodyCompressionArgs { codec: how.codec(), method: how.method() };
        BodyCompression::create(&mut text, &args)
    });
    let args = RecordBatchArgs {
        length: batch.length(),
        nodes: Some(text.create_vector(&nodes)),
        buffers: Some(text.create_vector(&buffers)),
        compression,
        ..RecordBatchArgs::default()
    };
    let header = IpcBatch::create(&mut text, &args);
    let args = MessageArgs {
        version: MetadataVersion::V5,
        header_type: MessageHeader::RecordBatch,
        header: Some(header.as_union_value()),
        bodyLength: body,
        ..MessageArgs::default()
    };
    let message = Message::create(&mut text, &args);
    text.finish(message, None);
    text.finished_data().to_vec()
}

/// An Arrow stream as it begins.
fn head(schema: &Schema) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    writer.flush()?;
    Ok(writer.get_ref().clone())
}

/// How many columns, and columns in them, one is.
fn columns(kind: &DataType) -> usize {
    match kind {
        DataType::List(item) => 1 + columns(item.data_type()),
        _ => 1,
    }
}

/// Walks the messages without unpacking anything; gives the schema, and the size that each buffer of the
/// batch unpacks to.
fn vet(bytes: &[u8]) -> Result<(Schema, Vec<u64>), String> {
    let mut rest = bytes;
    let Some((message, body)) = next_message(&mut rest)? else {
        return Err("an empty Arrow stream".into());
    };
    if message.header_type() != MessageHeader::Schema || !body.is_empty() {
        return Err("the Arrow stream does not begin with a schema".into());
    }
    let schema = message.header_as_schema().ok_or("no schema in the schema message")?;
    if schema.endianness() != Endianness::Little {
        return Err("the Arrow stream is big-endian".into());
    }
    if schema.fields().map_or(0, |f| f.len()) > MAX_FIELDS {
        return Err(format!("more than {MAX_FIELDS} columns"));
    }
    let schema =
        try_fb_to_schema(schema).map_err(|e| format!("schema: {}", short(&e.to_string())))?;

    let Some((message, body)) = next_message(&mut rest)? else {
        return Err("no batch after the schema".into());
    };
    if message.header_type() != MessageHeader::RecordBatch {
        return Err(format!("{:?} where the batch should be", message.header_type()));
    }
    let buffers = vet_batch(&message, body)?;
    if next_message(&mut rest)?.is_some() {
        return Err("several batches in one record".into());
    }
    if !rest.is_empty() {
        return Err(format!("{} bytes after the end of the Arrow stream", rest.len()));
    }
    Ok((schema, buffers))
}

/// The next message and its body; `None` at the end mark or where the bytes end.
fn next_message<'a>(rest: &mut &'a [u8]) -> Result<Option<(Message<'a>, &'a [u8])>, String> {
    if rest.is_empty() {
        return Ok(None);
    }
    let mut size = word(rest)?;
    if size == CONTINUES {
        size = word(rest)?;
    }
    if size == 0 {
        return Ok(None);
    }
    let meta = take(rest, u64::from(size).min(MAX_META as u64 + 1), "metadata")?;
    if meta.len() > MAX_META {
        return Err(format!("message metadata of more than {MAX_META} bytes"));
    }
    let message = root_as_message(meta).map_err(|e| short(&format!("message: {e}")))?;
    let length = u64::try_from(message.bodyLength()).map_err(|_| "a negative body length")?;
    let body = take(rest, length, "body")?;
    Ok(Some((message, body)))
}

fn word(rest: &mut &[u8]) -> Result<u32, String> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or("the Arrow stream is cut")?;
    *rest = tail;
    Ok(u32::from_le_bytes(*head))
}

fn take<'a>(rest: &mut &'a [u8], length: u64, what: &str) -> Result<&'a [u8], String> {
    let cut = || format!("the Arrow stream is cut: {length} bytes of {what} announced");
    let length = usize::try_from(length).map_err(|_| cut())?;
    let (head, tail) = rest.split_at_checked(length).ok_or_else(cut)?;
    *rest = tail;
    Ok(head)
}

/// Checks that nothing in the batch points outside the body or unpacks to more than we hold.
fn vet_batch(message: &Message<'_>, body: &[u8]) -> Result<Vec<u64>, String> {
    let batch = message.header_as_record_batch().ok_or("no batch in the batch message")?;
    if !(0..=MAX_UNPACKED as i64).contains(&batch.length()) {
        return Err(format!("{} rows announced", batch.length()));
    }
    if batch.variadicBufferCounts().is_some_and(|counts| !counts.is_empty()) {
        return Err("columns of views".into());
    }
    for node in batch.nodes().iter().flat_map(|nodes| nodes.iter()) {
        let (length, nulls) = (node.length(), node.null_count());
        if !(0..=MAX_UNPACKED as i64).contains(&length) || !(0..=length).contains(&nulls) {
            return Err(format!("a column of {length} cells of which {nulls} are unset"));
        }
    }
    let packed = batch.compression().is_some();
    let mut sizes = Vec::new();
    for buffer in batch.buffers().iter().flat_map(|buffers| buffers.iter()) {
        if buffer.offset() % ALIGNED != 0 {
            return Err(format!("a buffer at {}, which is not aligned", buffer.offset()));
        }
        let size = buffer_size(buffer.offset(), buffer.length(), body, packed);
        sizes.push(size.ok_or("a buffer outside of the body")?);
    }
    let sum = sizes.iter().fold(0u64, |sum, size| sum.saturating_add(*size));
    if sum > MAX_UNPACKED as u64 {
        return Err(format!("unpacks to {sum} bytes, more than the {MAX_UNPACKED} of a record"));
    }
    Ok(sizes)
}

/// What a buffer takes unpacked; `None` if it is not within the body.
fn buffer_size(offset: i64, length: i64, body: &[u8], packed: bool) -> Option<u64> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    let bytes = body.get(start..end)?;
    if bytes.is_empty() || !packed {
        return Some(bytes.len() as u64);
    }
    // Arrow writes the unpacked length before the bytes; -1 says that they are not packed.
    match i64::from_le_bytes(*bytes.first_chunk::<8>()?) {
        -1 => Some(bytes.len() as u64),
        said => u64::try_from(said).ok(),
    }
}

/// Whether the buffers of our columns hold whole cells, as the reader asserts that they do.
fn fit(def: &Def, known: usize, sizes: &[u64]) -> Result<(), String> {
    let mut rest = sizes.iter();
    for field in def.schema().fields().iter().take(known) {
        for width in cell_widths(field.data_type()).ok_or("a column of an unknown layout")? {
            let size = rest.next().ok_or("fewer buffers than the columns have")?;
            if size % width != 0 {
                return Err(format!("{size} bytes of cells of {width} in `{}`", field.name()));
            }
        }
    }
    Ok(())
}

/// Bytes of a cell in each buffer of a column, in the order of the batch; of bits and bytes it is 1.
fn cell_widths(kind: &DataType) -> Option<Vec<u64>> {
    Some(match kind {
        DataType::Boolean => vec![1, 1],
        DataType::Utf8 => vec![1, OFFSET_BYTES, 1],
        DataType::List(item) => [vec![1, OFFSET_BYTES], cell_widths(item.data_type())?].concat(),
        other => vec![1, other.primitive_width()? as u64],
    })
}

/// Compares their columns with ours; gives how many of ours they have.
fn compare(def: &Def, theirs: &Schema) -> Result<usize, String> {
    let ours = def.schema();
    for (i, field) in ours.fields().iter().enumerate() {
        let Some(their) = theirs.fields().get(i) else {
            if ours.fields()[i..].iter().all(|f| f.is_nullable()) {
                return Ok(i);
            }
            return Err(format!("column `{}` of {} is missing", field.name(), def.name));
        };
        if their.name() != field.name() {
            let their = short(their.name());
            return Err(format!("column {i} is `{their}`, {} has `{}`", def.name, field.name()));
        }
        if their.data_type() != field.data_type() {
            let their = short(&their.data_type().to_string());
            let (name, ours) = (field.name(), field.data_type());
            return Err(format!("column `{name}` is {their}, {} has {ours}", def.name));
        }
    }
    Ok(ours.fields().len())
}

/// The first `known` columns of the one batch.
fn read(bytes: &[u8], known: usize) -> Result<RecordBatch, ArrowError> {
    let mut batches = StreamReader::try_new(bytes, Some((0..known).collect()))?;
    batches.next().unwrap_or_else(|| Err(ArrowError::IpcError("no batch".into())))
}

/// The same rows under our own schema, which checks what must not be unset.
fn adopt(def: &Def, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = def.schema();
    let mut columns: Vec<ArrayRef> = rows.columns().iter().map(Arc::clone).collect();
    for field in &schema.fields()[columns.len()..] {
        columns.push(new_null_array(field.data_type(), rows.num_rows()));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options)
}
