/* io: JSON (cJSON), tables and arrays in parallel HDF5, the journal of finished work units.
 *
 * The one door to cJSON and HDF5.  Every file written here is written to a temporary name beside
 * the final one, flushed, fsync'ed and renamed, so that a failure leaves what was there before. */
#ifndef RD_IO_H
#define RD_IO_H

#include "rd/par.h"

/* ---------------------------------------------------------------- files (file.c) */

/* A file written piece by piece, which takes its place at commit; *f is NULL afterwards, also on
 * failure.  close without commit leaves what was there.  Local; RD_EIO. */
typedef struct rd_outfile rd_outfile;
int rd_outfile_create(const char *path, rd_outfile **f);
int rd_outfile_write(rd_outfile *f, const void *bytes, size_t n);
int rd_outfile_commit(rd_outfile **f);
void rd_outfile_close(rd_outfile **f);

/* Whole file in memory.  Local.  Errors: RD_EINPUT with the path and the reason; a limit on the
 * size (1 GiB) guards against a wrong file.
 * Everything that writes a file here ignores SIGXFSZ from then on, so that a limit on the file size
 * (ulimit -f) is an RD_EIO like a full disk. */
int rd_file_read(const char *path, rd_buf *out);
int rd_file_write_atomic(const char *path, const void *bytes, size_t n); /* RD_EIO, nothing left */
int rd_dir_make(const char *path);                                       /* like mkdir -p; RD_EIO */
bool rd_file_exists(const char *path);

/* The file at path, which is made, held by this job until its processes end or release it (lock.c).
 * When another job holds it: wait so many seconds, saying so once, then RD_EINPUT.  Where the file
 * system has no locks: a warning.  Collective on c. */
typedef struct rd_lock rd_lock;
int rd_lock_take(const rd_comm *c, const char *path, double wait, rd_lock **lock);
void rd_lock_release(rd_lock **lock); /* Local; accepts NULL; the file stays */
/* The same, waiting as long as another job holds it and saying so once ("WHAT: waits for ...");
 * RD_ESTOP when a stop is asked for meanwhile.  Without locks: RD_OK, *lock is NULL. */
int rd_lock_await(const rd_comm *c, const char *path, const char *what, rd_lock **lock);
/* Does another job hold the file at path, and who?  UNKNOWN: there are no locks.  Not of a file
 * that this process holds: the look would lose it.  Local. */
typedef enum { RD_LOCK_FREE, RD_LOCK_HELD, RD_LOCK_UNKNOWN } rd_lock_state;
rd_lock_state rd_lock_look(const char *path, char *holder, size_t size);
/* A symbolic link at path, in the place of what is there; target: from path's directory.  Local. */
int rd_file_link(const char *path, const char *target);

/* ---------------------------------------------------------------- JSON (json.c) */

/* A parsed document and its nodes.  Nodes are borrowed from the document.  All functions are Local.
 * The text is held to RFC 8259: valid UTF-8, no duplicate keys (compared with case), at most 128
 * levels, numbers of at most 63 characters that a double can hold.  Errors are RD_EINPUT, worded
 * "name:line: reason".  Objects and arrays are lists: get and set search from the front, so walk
 * long ones with first and next. */
typedef struct rd_json rd_json;           /* a document (parsed or built) */
typedef struct rd_json_node rd_json_node; /* a value in it */
typedef enum {
    RD_JSON_NULL,
    RD_JSON_BOOL,
    RD_JSON_NUMBER,
    RD_JSON_STRING,
    RD_JSON_ARRAY,
    RD_JSON_OBJECT
} rd_json_type;

int rd_json_read(const char *path, rd_json **doc);
/* name stands in error messages; first_line is the line number of text's first line (1 for a whole
 * file, i for line i of a JSON-lines file). */
int rd_json_parse(const char *text, size_t n, const char *name, int first_line, rd_json **doc);
void rd_json_free(rd_json **doc);
rd_json_node *rd_json_root(rd_json *doc);

rd_json_type rd_json_kind(const rd_json_node *v);
const char *rd_json_kind_name(rd_json_type t); /* "number", "object", … */
rd_json_node *rd_json_get(const rd_json_node *object, const char *key); /* NULL if absent */
rd_json_node *rd_json_first(const rd_json_node *container);             /* walk: first, next */
rd_json_node *rd_json_next(const rd_json_node *v);
int64_t rd_json_count(const rd_json_node *container);
const char *rd_json_key(const rd_json_node *v); /* NULL in arrays */
double rd_json_number(const rd_json_node *v);   /* 0 when not a number */
bool rd_json_is_int(const rd_json_node *v);     /* a number without a fraction, |v| <= 2^53 */
int64_t rd_json_int(const rd_json_node *v);
bool rd_json_bool(const rd_json_node *v);
const char *rd_json_string(const rd_json_node *v); /* NULL when not a string */
/* The line on which a node's value starts (its key's line for members); 0 for built documents. */
int rd_json_line(const rd_json *doc, const rd_json_node *v);

/* Building.  The value functions return the new node, owned by its parent.  A key that is there
 * already gets the new value in its old place.  In a parsed document, what is set has line 0. */
rd_json *rd_json_new(rd_json_type root); /* RD_JSON_OBJECT or RD_JSON_ARRAY */
/* key NULL: append to an array; value NULL: null. */
rd_json_node *rd_json_set_string(rd_json_node *object, const char *key, const char *value);
rd_json_node *rd_json_set_number(rd_json_node *object, const char *key, double value);
rd_json_node *rd_json_set_int(rd_json_node *object, const char *key,
                              int64_t value); /* |value| <= 2^53 */
/* The same for a key that is known to be new: takes no longer in a long object. */
rd_json_node *rd_json_add_int(rd_json_node *object, const char *key, int64_t value);
rd_json_node *rd_json_set_bool(rd_json_node *object, const char *key, bool value);
rd_json_node *rd_json_set_null(rd_json_node *object, const char *key);
rd_json_node *rd_json_set_object(rd_json_node *object, const char *key);
rd_json_node *rd_json_set_array(rd_json_node *object, const char *key);
rd_json_node *rd_json_set_copy(rd_json_node *object, const char *key, const rd_json_node *value);
void rd_json_delete(rd_json_node *object, const char *key);
/* Appends to out.  Integers without ".0", doubles with as many digits (15 to 17) as bring them back
 * bit for bit, not-a-number and infinities as null, bytes that are not UTF-8 as U+FFFD. */
void rd_json_print(const rd_json_node *v, bool pretty, rd_buf *out);
/* A string as Python's json.dumps prints it: quoted, everything beyond ASCII escaped. */
void rd_json_put_ascii(const char *text, size_t n, rd_buf *out);

/* ---------------------------------------------------------------- text pool (pool.c) */

/* Strings gathered for a table's text columns.  Interning is per mark: a string added twice
 * between two marks gets one id, so that ids do not depend on which rank did which unit. */
typedef struct rd_pool {
    rd_buf bytes;
    int64_t *offset; /* n + 1 */
    int64_t n, cap;
    int64_t mark;   /* ids before it are not searched */
    int64_t *slots; /* hash table of ids since the mark */
    int64_t n_slots;
} rd_pool;
int64_t rd_pool_add(rd_pool *p, const char *s); /* local id; NULL gives -1 */
void rd_pool_mark(rd_pool *p);
const char *rd_pool_get(const rd_pool *p, int64_t id,
                        size_t *len); /* strings are NUL-terminated in memory; NULL for -1 */
void rd_pool_free(rd_pool *p);

/* ---------------------------------------------------------------- HDF5 tables (store.c) */

/* Element types of columns and arrays. */
typedef enum { RD_U8, RD_I32, RD_I64, RD_F32, RD_F64 } rd_dtype;
size_t rd_dtype_size(rd_dtype t);

/* A file of tables: groups of equally long one-dimensional columns "table/column" (chunked,
 * shuffle + deflate 1), text in a pool /text/bytes (uint8, UTF-8, no terminators) and /text/offset
 * (int64, n + 1), arrays of any rank.  The root carries schema, schema_version, software,
 * software_version, git, date, config as attributes.  HDF5's user block (512 bytes) in front holds
 * a checksum over the whole file (seal.c), written at commit and verified at open, the ranks
 * sharing the reading.
 *
 * Everything here is Collective on the communicator given at create/open unless said otherwise, and
 * returns the same code on every rank; names, types, ranks and dims are equal on all ranks.  Room
 * for a dataset, as if nothing compressed, is reserved before it is written: a full disk, a quota
 * or a file-size limit is an RD_EIO there.  After a failure: rd_store_close, which removes the
 * temporary file; what stood at the path before is untouched.  date is UTC, or the environment
 * variable SOURCE_DATE_EPOCH when set: then equal contents on equally many ranks give equal bytes.
 */
typedef struct rd_store rd_store;
typedef struct rd_store_info {
    const char *schema; /* "redistill.traces" */
    int version;        /* major version of the schema */
    const char *config; /* resolved config as JSON text; may be NULL */
} rd_store_info;

/* Bytes that a store takes while it is committed or opened, at most; less for small files. */
enum { RD_STORE_SPACE = 4 << 20 };
int rd_store_create(const rd_comm *c, const char *path, const rd_store_info *info, rd_store **s);
/* Open for reading.  Refuses another schema (NULL: any) or a newer major version: RD_EINPUT.  A
 * file that is truncated, foreign or does not fit its checksum is RD_EINPUT with the path. */
int rd_store_open(const rd_comm *c, const char *path, const char *schema, int version,
                  rd_store **s);
/* The same, if path is there and its attribute "key" is this one; otherwise *s is NULL.  That a
 * file with another key will be replaced is said in the name of `stage`. */
int rd_store_open_own(const rd_comm *c, const char *path, const char *schema, int version,
                      uint64_t key, const char *stage, rd_store **s);
/* Flush, fsync, rename into place, close; *s is NULL afterwards, also on failure, which discards
 * the file.  Without commit, close discards a created file.  Fault site "store", before the rename.
 */
int rd_store_commit(rd_store **s);
void rd_store_close(rd_store **s);

/* Columns.  write: each rank brings its n rows; they are laid out in rank order.  All columns of a
 * table must end up equally long (checked at commit: RD_EINTERNAL). */
int rd_store_write(rd_store *s, const char *column, rd_dtype t, const void *rows, int64_t n);
int rd_store_rows(rd_store *s, const char *column, int64_t *n); /* RD_EINPUT when absent */
bool rd_store_has(rd_store *s, const char *name);               /* column, array or table */
/* Rows [first, first + n), per rank its own range, converted to t.  Only of an opened store. */
int rd_store_read(rd_store *s, const char *column, rd_dtype t, int64_t first, int64_t n,
                  void *rows);

/* Text.  write_pool: ranks' pools one after the other; *base is added to this rank's local ids to
 * make file ids (-1 stays -1).  Once per file.  read_text: strings [first, first + n), per rank its
 * own range, as a pool whose id 0 is string `first`; what p held before is freed. */
int rd_store_write_pool(rd_store *s, const rd_pool *p, int64_t *base);
int rd_store_text_count(rd_store *s, int64_t *n);
int rd_store_read_text(rd_store *s, int64_t first, int64_t n, rd_pool *p);

/* Arrays in their global shape; each rank writes or reads a hyperslab (HDF5's start, stride, count,
 * block per dimension; count 0: this rank takes no part but enters).  A last block that reaches
 * past the extent is cut there, so that a block-cyclic share of any extent is one slab.  data is
 * dense in slab order (row-major, last dimension fastest).  write creates the dataset, with
 * checksums that read verifies (RD_EINPUT); every element must be in some rank's slab.  Rank 0 is a
 * scalar: dims and slab may be NULL. */
enum { RD_STORE_MAX_RANK = 8 };
typedef struct rd_slab {
    int64_t start, stride, count, block;
} rd_slab;
int rd_store_write_array(rd_store *s, const char *name, rd_dtype t, int rank, const int64_t *dims,
                         const rd_slab *slab, const void *data);
int rd_store_read_array(rd_store *s, const char *name, rd_dtype t, int rank, const int64_t *dims,
                        const rd_slab *slab, void *data); /* RD_EINPUT when dims differ */
int rd_store_array_dims(rd_store *s, const char *name, int max_rank, int *rank, int64_t *dims);

/* Links: name[i] leads to the root of the HDF5 file file[i], found from this one's directory. */
int rd_store_link(rd_store *s, int64_t n, const char *const *name, const char *const *file);

/* Attributes of the root or of an object ("" is the root).  set: values equal on all ranks. */
int rd_store_set_string(rd_store *s, const char *object, const char *name, const char *value);
int rd_store_set_i64(rd_store *s, const char *object, const char *name, int64_t value);
int rd_store_set_f64(rd_store *s, const char *object, const char *name, double value);
int rd_store_get_string(rd_store *s, const char *object, const char *name, rd_buf *value);
int rd_store_get_i64(rd_store *s, const char *object, const char *name, int64_t *value);
int rd_store_get_f64(rd_store *s, const char *object, const char *name, double *value);
/* Is there one?  What rank 0 sees, on every rank: what follows is the same everywhere. */
bool rd_store_has_attribute(rd_store *s, const char *object, const char *name);

/* Description of any HDF5 file: attributes, tables with row counts, arrays with shapes.  Local.
 * Appends text for a terminal, or one JSON object: path, bytes, checksum (is there one that fits?
 * One that does not is RD_EINPUT), attributes, tables [{name, rows,
 * columns [{name, type}]}], arrays [{name, type, shape, stored_bytes}], object_attributes, text
 * {strings, bytes} when there is a pool, links [{name, file, object}] to other files, which are not
 * followed, when there are any. */
int rd_store_describe(const char *path, bool json, rd_buf *out);

/* Does a file of ours hold what its schema says (check.c, schema.c)?  Appends a line per violation,
 * or one line when there is none, and a note for what the schema does not know.  Local; RD_EINPUT
 * with violations, or when it cannot be judged: damaged, foreign, of a newer version. */
int rd_store_check(const char *path, rd_buf *out);
void rd_store_schemas(rd_buf *out); /* all schemas, as the tables of analysis/SCHEMA.md */

/* A log that grows while the job runs and can be read meanwhile (metrics.h5).  Local: one rank owns
 * it.  Rows are buffered and appended at flush, to a copy that is then renamed into place, so that
 * a reader never meets a half-written file and a kill costs at most the rows not flushed (each
 * flush costs a copy and an fsync: flush every some seconds, not every step).  After RD_EIO the
 * rows are still there for the next flush.  open with keep >= 0 first truncates every table to the
 * rows whose first column (an int64, ascending) is <= keep (a resumed run); -1 starts an empty
 * file. */
typedef struct rd_series rd_series;
int rd_series_open(const char *path, const rd_store_info *info, int64_t keep, rd_series **s);
/* Append one row to table: the column names and values in order (float64; int64 for the first). */
int rd_series_row(rd_series *s, const char *table, int n, const char *const *columns, int64_t key,
                  const double *values); /* columns: n names after the key column "step" */
int rd_series_flush(rd_series *s);
int rd_series_close(rd_series **s); /* flushes */

/* ---------------------------------------------------------------- model files (modelfile.c) */

/* Formats of the numbers in model files: floats, and ggml's quantised blocks, whose rows are whole
 * blocks of 32 (256 for the K formats).  OTHER: anything else; listed, not read. */
typedef enum {
    RD_FORMAT_F32,
    RD_FORMAT_F16,
    RD_FORMAT_BF16,
    RD_FORMAT_Q8_0,
    RD_FORMAT_Q4_0,
    RD_FORMAT_Q4_1,
    RD_FORMAT_Q5_0,
    RD_FORMAT_Q5_1,
    RD_FORMAT_Q4_K,
    RD_FORMAT_Q5_K,
    RD_FORMAT_Q6_K,
    RD_FORMAT_OTHER
} rd_format;

/* A tensor of a model file.  dims as Hugging Face counts them, outermost first: a linear layer is
 * [out, in].  The last dimension is contiguous, so the bytes are our column-major in x out.  (GGUF
 * writes the same bytes down as ne = [in, out], contiguous first; it is turned round here.) */
typedef struct rd_tensor {
    const char *name; /* as the file has it: GGUF's blk.0.attn_q.weight is not renamed */
    const char *type; /* the format's name in the file, also of OTHER ones: "BF16", "Q4_K", "I64" */
    rd_format format;
    int rank;
    int64_t dims[RD_STORE_MAX_RANK];
    int64_t n_bytes;        /* in the file */
    const void *data;       /* there, mapped: touch it no more after the close */
    int64_t rope_head_size; /* > 0: rows lie in the file in GGUF's rotary order; see read */
    int file;               /* which file of a folder */
} rd_tensor;

/* A model's tensors: a .safetensors file; a folder with model.safetensors or else
 * model.safetensors.index.json and the files that this names; a .gguf file (version 2 or 3).
 * Mapped, not read: a rank that reads its share touches the pages of its share, and gives them back
 * after each read.  Every length, offset, count and name is checked at open against the files'
 * sizes (RD_EINPUT, naming the file and the tensor).  All functions are Local; ranks of one
 * program open the same path each by itself. */
typedef struct rd_weights rd_weights;
int rd_weights_open(const char *path, rd_weights **w);
void rd_weights_close(rd_weights **w);
bool rd_weights_is(const char *path); /* looks like one: a folder, or by name or first bytes */
int64_t rd_weights_count(const rd_weights *w);
const rd_tensor *rd_weights_tensor(const rd_weights *w, int64_t i); /* in the order of the files */
const rd_tensor *rd_weights_find(const rd_weights *w, const char *name); /* NULL when absent */

/* A part of a tensor of rank 1 or 2 as float32: out is dense in slab order (a slab per dimension;
 * last dimension fastest), so that a block-cyclic share of [out, in] arrives as the column-major
 * local part of in x out.  Errors: RD_EINPUT for a format of OTHER, or when the file has become
 * shorter since it was opened.
 * llama.cpp stores the rows of Q and K of its "llama" architecture (Llama, Mistral, SmolLM2) with
 * the two halves of each head interleaved; here they are always in Hugging Face's order, whatever
 * the file: row h*S + i of the result is the file's row h*S + rd_rope_row(i, S). */
int rd_weights_read(const rd_weights *w, const rd_tensor *t, const rd_slab *slab, float *out);
int64_t rd_rope_row(int64_t i, int64_t head_size);
/* Which weights these are, for keys: a hash of every tensor's name, format, shape, and its first,
 * middle and last 4 KiB, however they are spread over files.  So a large model is known without
 * being read; a change between those samples goes unseen.  RD_EINPUT as read. */
int rd_weights_identity(const rd_weights *w, uint64_t seed, uint64_t *id);

/* Metadata: GGUF's key-values, the __metadata__ of safetensors (strings; of a folder the first
 * file's that has the key).  Values by index, 0 for a single value. */
typedef enum {
    RD_META_BOOL,
    RD_META_INT,
    RD_META_REAL,
    RD_META_STRING,
    RD_META_ARRAY
} rd_meta_kind;
typedef struct rd_meta rd_meta;
const rd_meta *rd_weights_meta(const rd_weights *w, const char *key); /* NULL when absent */
const rd_meta *rd_weights_meta_at(const rd_weights *w, int64_t i);    /* NULL past the last */
const char *rd_meta_key(const rd_meta *m);
rd_meta_kind rd_meta_type(const rd_meta *m); /* of the value, or of an array's elements */
bool rd_meta_is_array(const rd_meta *m);
int64_t rd_meta_count(const rd_meta *m); /* elements; 1 of a single value */
/* The value, or 0 and NULL when it is of another kind or there is none.  int: also of bool; beyond
 * int64 the nearest.  real: also of int.  string: len bytes, anything in them, terminated only when
 * it is a single value.  item: an array in an array. */
int64_t rd_meta_int(const rd_meta *m, int64_t i);
double rd_meta_real(const rd_meta *m, int64_t i);
const char *rd_meta_string(const rd_meta *m, int64_t i, size_t *len);
const rd_meta *rd_meta_item(const rd_meta *m, int64_t i);

/* Writing safetensors: a file (path ends in .safetensors) or a folder with model.safetensors or,
 * when shard_bytes > 0 and it would be larger, model-00001-of-0000N.safetensors … and the index.
 * Collective on the communicator of create, same code on every rank.
 *   tensors [n]  name, format (F32, F16, BF16), rank 1 or 2 and dims are looked at; equal on all
 *                ranks, as is metadata: key, value, key, value, …, NULL, or NULL ("format": "pt",
 *                which transformers asks for, is always there)
 * write: tensor i, each rank's slab of it (count 0: none) as float32, dense in slab order as read
 * gives it; together the slabs cover it, each number once (RD_EINTERNAL when too few or too many).
 * Every tensor once, in any order.  A file is written by one rank alone, which gathers it in pieces
 * of 16 MiB: neither the model nor a tensor need fit one rank's memory.
 * commit: files take their place, *e is NULL afterwards, also on failure.  A single file replaces
 * an older one atomically; in a folder the index comes last and an old one goes first, so that a
 * kill leaves the old model, the new one or a folder that is refused, never a mixture.  close
 * without commit leaves what was there.  Room is reserved at create: a full disk is an RD_EIO
 * there.  Fault site "export". */
typedef struct rd_export rd_export;
int rd_export_create(const rd_comm *c, const char *path, int64_t shard_bytes, int64_t n,
                     const rd_tensor *tensors, const char *const *metadata, rd_export **e);
int rd_export_write(rd_export *e, int64_t i, const rd_slab *slab, const float *data);
int rd_export_commit(rd_export **e);
void rd_export_close(rd_export **e); /* Local */

/* Description of a model file or folder, as rd_store_describe does it: path, format, bytes, files,
 * parameters, metadata, tensors [{name, type, shape, stored_bytes}].  Local. */
int rd_weights_describe(const char *path, bool json, rd_buf *out);

/* ---------------------------------------------------------------- journal (journal.c) */

/* Finished work units of one stage, appended per rank to DIR/STAGE.RANK.journal: records (unit,
 * length, crc32, bytes) after a header with the stage's key (a hash of everything that determines
 * its results).  A kill loses at most the record in hand: a torn tail is cut off.  (Records are not
 * synced: after a node's crash those that never reached the disk are computed again.)
 *
 * open: Collective on c.  Reads the journals of all earlier ranks, however many there were, spread
 * over the ranks that are here now; journals with another key are removed with a warning.  done[n]
 * is equal on all ranks afterwards; a unit recorded twice counts once (the lower file number). */
typedef struct rd_journal rd_journal;
int rd_journal_open(const rd_comm *c, const char *dir, const char *stage, uint64_t key,
                    int64_t n_units, uint8_t *done, rd_journal **j);
int rd_journal_append(rd_journal *j, int64_t unit, const rd_buf *record); /* Local; RD_EIO */
/* All records this rank holds (read at open or appended since).  Borrowed.  Local. */
int64_t rd_journal_records(const rd_journal *j, const int64_t **units, const rd_buf **records);
void rd_journal_close(rd_journal **j); /* Local: files stay */
int rd_journal_remove(const rd_comm *c, const char *dir,
                      const char *stage); /* Collective; all closed before */

/* ---------------------------------------------------------------- ledger (ledger.c) */

/* Records that must never be made twice, such as answers that were paid for: appended per rank to
 * DIR/NAME.RANK.ledger and found again by their key, whichever rank wrote them and however many
 * there were.  Unlike a journal it belongs to no stage and no settings: the key says it all, and
 * nothing is ever removed.
 *
 * A record is with the operating system when append returns, so a killed process loses none; sync
 * brings it to the disk, so a crashed node loses those appended since.  A torn tail is cut off; a
 * record damaged in the middle is lost (with a warning), those behind it are not.  Of several
 * records of one key the first of the lowest file counts.
 *
 * open: Collective on c.  Each rank reads a share of the files; all then hold the index, 56 bytes a
 * record.  RD_EINPUT when another run keeps writing there; RD_EIO.  The rest is Local. */
typedef struct rd_ledger rd_ledger;
typedef struct rd_ledger_key {
    uint64_t a, b;
} rd_ledger_key;
int rd_ledger_open(const rd_comm *c, const char *dir, const char *name, rd_ledger **l);
/* amount: a number of the record that totals adds up. */
int rd_ledger_append(rd_ledger *l, rd_ledger_key key, int64_t amount, const rd_buf *record);
int rd_ledger_sync(rd_ledger *l); /* RD_EIO */
/* Among the records there at open and this rank's own since.  record is overwritten; RD_EIO. */
int rd_ledger_find(rd_ledger *l, rd_ledger_key key, bool *found, rd_buf *record);
/* Of all records at open, repeats included; equal on all ranks. */
void rd_ledger_totals(const rd_ledger *l, int64_t *records, int64_t *amount);
void rd_ledger_close(rd_ledger **l); /* syncs */

#endif
