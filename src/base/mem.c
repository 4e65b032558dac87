/* mem.c: counted, aligned allocation.
 *
 * Each block carries a 64-byte header (so that the data keeps its alignment) with its size and the
 * layer that asked for it; counters are plain because a rank allocates from one thread only.
 *
 * What is large is a mapping of its own: it is there only where it was touched, and near the thread
 * that touched it first. */
#include "rd/base.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN = 64, MAX_LAYERS = 32, LARGE = 1 << 20, OWN = 1 << 22 };

typedef struct header {
    size_t bytes;
    int layer;
    uint32_t magic; /* a wrong pointer or a double free is found here */
    size_t mapped;  /* bytes of a mapping of its own; 0: from the heap */
    void *heap;     /* what malloc gave */
} header;
_Static_assert(sizeof(header) <= ALIGN, "the header must fit in front of the data");
enum { MAGIC = 0x5ed157, FREED = 0xdead };

static struct {
    char name[16];
    int64_t bytes, blocks;
} layers[MAX_LAYERS];
static int n_layers;
static int64_t used, peak;
static const char *guard_name;
static struct {
    bool on;
    int64_t used, peak; /* before */
} pretended;

/* The layer is the directory of the caller's file: "src/io/json.c" is io. */
static int find_layer(const char *file)
{
    const char *end = strrchr(file, '/');
    const char *start = end;
    int i;
    while (start && start > file && start[-1] != '/') start--;
    size_t n = end ? (size_t)(end - start) : 0;
    if (n >= sizeof layers[0].name) n = sizeof layers[0].name - 1;
    for (i = 0; i < n_layers; i++)
        if (strlen(layers[i].name) == n && memcmp(layers[i].name, start ? start : "", n) == 0)
            return i;
    if (n_layers == MAX_LAYERS) return MAX_LAYERS - 1;
    if (n) memcpy(layers[n_layers].name, start, n);
    layers[n_layers].name[n] = 0;
    return n_layers++;
}

/* The same, which is asked for at every allocation: files are named by constants, told apart by
 * where they lie. */
static int layer_of(const char *file)
{
    static struct {
        const char *file;
        int layer;
    } known[64];
    size_t at = ((uintptr_t)file >> 3) % 64;
    if (known[at].file != file) {
        known[at].layer = find_layer(file);
        known[at].file = file;
    }
    return known[at].layer;
}

static void count(const header *h, int sign)
{
    layers[h->layer].bytes += sign * (int64_t)h->bytes;
    layers[h->layer].blocks += sign;
    used += sign * (int64_t)h->bytes;
    if (used > peak) peak = used;
}

static size_t total_size(const char *file, int64_t n, size_t size)
{
    size_t bytes;
    if (guard_name) rd_die_at(file, 0, "allocation inside '%s'", guard_name);
    if (n < 0 || __builtin_mul_overflow((size_t)n, size, &bytes) || bytes > SIZE_MAX / 2)
        rd_die_at(file, 0, "cannot allocate %lld x %zu bytes", (long long)n, size);
    return bytes;
}

/* Address space of zeros, of which the system provides what is touched. */
static void *reserve(size_t bytes, bool touched)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (pretended.on || !touched ? MAP_NORESERVE : 0);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Sanitizers watch the heap. */
static bool is_mapped(size_t bytes, bool touched)
{
#ifndef __SANITIZE_ADDRESS__
    if (bytes >= OWN) return true;
#endif
    return (pretended.on || !touched) && bytes >= LARGE;
}

/* By hand to ALIGN: malloc keeps small blocks ready, aligned_alloc does not. */
static header *from_heap(size_t bytes)
{
    char *heap = malloc(bytes + ALIGN);
    if (heap == NULL) return NULL;
    header *h = (header *)(heap + (ALIGN - (uintptr_t)heap % ALIGN) % ALIGN);
    memset(h, 0, bytes);
    h->heap = heap;
    return h;
}

static void *allocate(const char *file, int64_t n, size_t size, bool touched)
{
    size_t bytes = total_size(file, n, size);
    size_t padded = (bytes + 2 * ALIGN - 1) / ALIGN * ALIGN; /* header + data, in whole ALIGNs */
    bool map = is_mapped(bytes, touched);
    header *h = map ? reserve(padded, touched) : from_heap(padded);
    if (!h) rd_die_at(file, 0, "out of memory (%zu bytes, %lld in use)", bytes, (long long)used);
    h->mapped = map ? padded : 0;
    h->bytes = bytes;
    h->layer = layer_of(file);
    h->magic = MAGIC;
    count(h, 1);
    return (char *)h + ALIGN;
}

void *rd_alloc_at(const char *file, int64_t n, size_t size)
{
    return allocate(file, n, size, true);
}

void *rd_alloc_untouched_at(const char *file, int64_t n, size_t size)
{
    return allocate(file, n, size, false);
}

static header *header_of(void *p)
{
    header *h = (header *)((char *)p - ALIGN);
    if (h->magic != MAGIC) rd_die("freed twice, or not ours: %p", p);
    return h;
}

void *rd_realloc_at(const char *file, void *p, int64_t n, size_t size)
{
    if (!p) return rd_alloc_at(file, n, size);
    header *h = header_of(p);
    void *q = rd_alloc_at(file, n, size);
    size_t bytes = (size_t)n * size;
    memcpy(q, p, h->bytes < bytes ? h->bytes : bytes);
    rd_free(p);
    return q;
}

void rd_free(void *p)
{
    if (!p) return;
    header *h = header_of(p);
    count(h, -1);
    h->magic = FREED;
    if (h->mapped > 0)
        munmap(h, h->mapped);
    else
        free(h->heap);
}

char *rd_strndup(const char *s, size_t n)
{
    char *copy = rd_new(char, (int64_t)n + 1);
    memcpy(copy, s, n);
    return copy;
}

char *rd_strdup(const char *s)
{
    return s ? rd_strndup(s, strlen(s)) : NULL;
}

int64_t rd_mem_used(void)
{
    return used;
}
int64_t rd_mem_peak(void)
{
    return peak;
}
void rd_mem_peak_restart(void)
{
    peak = used;
}

/* Not getrusage: its figure includes what the process was before it became this program. */
static int64_t status_bytes(const char *name)
{
    int64_t kilobytes = 0;
    size_t n = strlen(name);
    char line[128];
    FILE *f = fopen("/proc/self/status", "r");
    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, name, n) == 0) kilobytes = strtoll(line + n, NULL, 10);
    fclose(f);
    return 1024 * kilobytes;
}

int64_t rd_mem_resident(void)
{
    return status_bytes("VmRSS:");
}

int64_t rd_mem_resident_peak(void)
{
    return status_bytes("VmHWM:");
}

void rd_mem_report(FILE *f)
{
    for (int i = 0; i < n_layers; i++)
        fprintf(f, "# memory: %-10s %12lld bytes in %lld blocks\n", layers[i].name,
                (long long)layers[i].bytes, (long long)layers[i].blocks);
}

void rd_mem_guard(const char *name)
{
    guard_name = name;
}

void rd_mem_pretend(bool on)
{
    RD_ASSERT(on != pretended.on);
    pretended.on = on;
    if (on) {
        pretended.used = used;
        pretended.peak = peak;
        return;
    }
    RD_ASSERT(used == pretended.used);
    peak = pretended.peak;
}

bool rd_mem_pretending(void)
{
    return pretended.on;
}
