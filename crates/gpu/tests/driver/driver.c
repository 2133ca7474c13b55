/* A driver of NVIDIA's in host memory, for tests: libcuda.so.1 as the crate gpu and FFmpeg use it, and libnvcuvid.so.1 (nvdec.c), which
 * is the same library under another name. None of it says how a real GPU behaves.
 *
 * "Device" memory is host memory, and a kernel is the function that a C compiler makes of kernels/kernels.cu, called once per thread. As
 * on a GPU, copies and kernels wait in a queue until something waits for them: the program reads stale memory where it forgets to wait,
 * and where it changes a buffer too early, the copy sees that.
 *
 * Compile it with  cc -shared -fPIC -O2 -ffp-contract=off -pthread driver.c -o libcuda.so.1
 *
 * Faults are in the file `faults` in the folder of this library. It is read at each call. One fault per line:
 *   no_device           cuInit fails with 100
 *   driver VERSION      the version of the driver, such as 12040 (else 13000)
 *   memory N            the Nth allocation of device or pinned memory fails with 2, and each one after it
 *   fail CALL N CODE    call N of the function, from 1, fails with CODE
 *   sticky N CODE       after the Nth launch of a kernel, every call fails with CODE
 *   ptx                 the kernels cannot be compiled
 *   wrong KERNEL        the kernel gives a result with one wrong bit
 *   wrong nvdec         the pictures of the program's self-test of NVDEC have one wrong bit
 *   decoders N          there is no memory for more than N video decoders at once
 *   picture N ERROR     the Nth picture cannot be decoded, with this number of an error
 *   broken N ERROR      no picture from the Nth on can be decoded
 *   map N ERROR         the Nth picture cannot be mapped
 *   lost N              at the Nth picture the GPU is lost: from then on every call fails with 719
 * Counts start when the library is loaded. A library is loaded once per path, so a test that copies it has counts of its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernels/kernels.cu"

typedef int CUresult;
enum { OK = 0, INVALID = 1, NO_MEMORY = 2, NO_DEVICE = 100, NO_CONTEXT = 201, BAD_PTX = 218, BAD_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, LOST = 719 };

/* --- faults ------------------------------------------------------------------------------------------------------------------------ */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int allocations, launches;
static _Thread_local void *current;

static int lost; /* the error of every call from now on */

/* Writes the path of a file in the folder of this library. */
static const char *beside_library(char *path, size_t bytes, const char *name) {
    Dl_info self;
    const char *library = dladdr((void *)&beside_library, &self) ? self.dli_fname : "";
    const char *end = strrchr(library, '/');
    snprintf(path, bytes, "%.*s/%s", end ? (int)(end - library) : 1, end ? library : ".", name);
    return path;
}

static FILE *fault_file(void) {
    char path[4096];
    return fopen(beside_library(path, sizeof path, "faults"), "r");
}

/* Finds the line that starts with `words`, and returns the number after it, 0 where it has none; -1 without such a line. */
static long fault(const char *words) {
    FILE *file = fault_file();
    char line[256];
    long number = -1;
    size_t length = strlen(words);
    while (file && number < 0 && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, words, length) && (!line[length] || line[length] == ' ')) number = strtol(line + length, NULL, 10);
    }
    if (file) fclose(file);
    return number;
}

/* Finds the line that starts with `word` and one or two numbers. */
static int fault_numbers(const char *word, long *first, long *second) {
    FILE *file = fault_file();
    char line[256], said[64];
    long numbers[2] = {0, 0};
    int is_found = 0;
    while (file && !is_found && fgets(line, sizeof line, file))
        is_found = sscanf(line, "%63s %ld %ld", said, &numbers[0], &numbers[1]) > 1 && !strcmp(said, word);
    if (file) fclose(file);
    if (first) *first = numbers[0];
    if (second) *second = numbers[1];
    return is_found;
}

/* The result of a call that fails only where the GPU is lost. */
static CUresult alive(void) { return lost; }

/* Returns the error for call `count` of a function. */
static CUresult fails(const char *call, int count) {
    FILE *file = fault_file();
    char line[256], name[64];
    int error = alive(), at, code;
    while (file && !error && fgets(line, sizeof line, file)) {
        if (sscanf(line, "sticky %d %d", &at, &code) == 2 && launches >= at) error = code;
        if (sscanf(line, "fail %63s %d %d", name, &at, &code) == 3 && !strcmp(name, call) && at == count) error = code;
    }
    if (file) fclose(file);
    return error;
}

#define ENTER(call) \
    do { \
        static int count; \
        pthread_mutex_lock(&lock); \
        CUresult error = fails(call, ++count); \
        pthread_mutex_unlock(&lock); \
        if (error) return error; \
    } while (0)
/* A call that needs a context. */
#define WORK(call) \
    ENTER(call); \
    if (!current) return NO_CONTEXT

CUresult cuGetErrorName(CUresult error, const char **name) {
    *name = error == NO_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : error == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" : error == LOST ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR_FAKE";
    return OK;
}
CUresult cuGetErrorString(CUresult error, const char **text) {
    *text = error == NO_MEMORY ? "out of memory" : error == NO_DEVICE ? "no CUDA-capable device is detected" : error == LOST ? "unspecified launch failure" : "a fault of a test";
    return OK;
}

/* --- devices and contexts ---------------------------------------------------------------------------------------------------------- */

#define DEVICES 2
static int retained[DEVICES];

CUresult cuInit(unsigned flags) {
    if (flags) return INVALID;
    ENTER("cuInit");
    return fault("no_device") >= 0 ? NO_DEVICE : OK;
}
CUresult cuDriverGetVersion(int *version) {
    long named = fault("driver");
    *version = named > 0 ? (int)named : 13000;
    return OK;
}
CUresult cuDeviceGetCount(int *count) {
    *count = DEVICES;
    return OK;
}
CUresult cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return ordinal < DEVICES ? OK : 101;
}
CUresult cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, (size_t)length, "Fake GPU %d", device);
    return OK;
}
CUresult cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) {
    if (device >= DEVICES || flags != 4) return INVALID;
    ENTER("cuDevicePrimaryCtxSetFlags");
    return OK;
}
CUresult cuDevicePrimaryCtxRetain(void **context, int device) {
    ENTER("cuDevicePrimaryCtxRetain");
    retained[device]++;
    *context = &retained[device];
    return OK;
}
CUresult cuDevicePrimaryCtxRelease_v2(int device) {
    if (retained[device] < 1) return NO_CONTEXT;
    retained[device]--;
    return OK;
}
CUresult cuCtxSetCurrent(void *context) {
    ENTER("cuCtxSetCurrent");
    current = context;
    return OK;
}
/* What FFmpeg calls beside that. The flags are those of an active context that somebody else made: FFmpeg alone would refuse it. */
CUresult cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *is_active) {
    (void)device;
    *flags = 0;
    *is_active = 1;
    return alive();
}
CUresult cuDeviceComputeCapability(int *major, int *minor, int device) {
    (void)device;
    *major = 7;
    *minor = 5;
    return alive();
}
CUresult cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)attribute, (void)device;
    *value = 256;
    return alive();
}
CUresult cuCtxGetDevice(int *device) {
    *device = (int)((int *)current - retained);
    return alive();
}
static _Thread_local void *below[16];
static _Thread_local unsigned depth;
CUresult cuCtxPushCurrent_v2(void *context) {
    if (depth == sizeof below / sizeof *below) return INVALID;
    below[depth++] = current;
    current = context;
    return alive();
}
CUresult cuCtxPopCurrent_v2(void **context) {
    if (!depth) return NO_CONTEXT;
    if (context) *context = current;
    current = below[--depth];
    return alive();
}
CUresult cuStreamQuery(void *stream) {
    (void)stream;
    return alive();
}

/* --- the queue --------------------------------------------------------------------------------------------------------------------- */

/* Work that waits. All streams are one queue, in the order of the calls. */
typedef struct Work {
    struct Work *next;
    void (*run)(struct Work *);
    void *to;
    const void *from;
    size_t bytes, to_pitch, from_pitch, rows;
    unsigned grid[3], block[2];
    unsigned char arguments[4096];
} Work;
static Work *first, **last = &first;

static void enqueue(const Work *work) {
    Work *copy = malloc(sizeof *copy);
    *copy = *work;
    copy->next = NULL;
    *last = copy;
    last = &copy->next;
}
static void run_all(void) {
    pthread_mutex_lock(&lock);
    while (first) {
        Work *work = first;
        first = work->next;
        if (!first) last = &first;
        work->run(work);
        free(work);
    }
    pthread_mutex_unlock(&lock);
}
static CUresult put(Work work) {
    pthread_mutex_lock(&lock);
    enqueue(&work);
    pthread_mutex_unlock(&lock);
    return OK;
}
static void run_copy(Work *work) {
    for (size_t row = 0; row < work->rows; row++)
        memmove((char *)work->to + row * work->to_pitch, (const char *)work->from + row * work->from_pitch, work->bytes);
}
static void run_fill(Work *work) { memset(work->to, (int)work->rows, work->bytes); }

CUresult cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    (void)stream;
    WORK("cuMemcpyHtoDAsync");
    return put((Work){.run = run_copy, .to = (void *)to, .from = from, .bytes = bytes, .rows = 1});
}
CUresult cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    (void)stream;
    WORK("cuMemcpyDtoHAsync");
    return put((Work){.run = run_copy, .to = to, .from = (void *)from, .bytes = bytes, .rows = 1});
}
/* CUDA_MEMCPY2D of cuda.h. Memory types: 1 host, 2 device. */
typedef struct {
    size_t src_x, src_y;
    unsigned src_type;
    const void *src_host;
    uint64_t src_device;
    void *src_array;
    size_t src_pitch, dst_x, dst_y;
    unsigned dst_type;
    void *dst_host;
    uint64_t dst_device;
    void *dst_array;
    size_t dst_pitch, width, height;
} Copy2d;
CUresult cuMemcpy2DAsync_v2(const Copy2d *c, void *stream) {
    (void)stream;
    WORK("cuMemcpy2DAsync");
    if (c->src_pitch < c->width || c->dst_pitch < c->width) return INVALID;
    const char *from = c->src_type == 1 ? c->src_host : (const char *)c->src_device;
    char *to = c->dst_type == 1 ? c->dst_host : (char *)c->dst_device;
    return put((Work){.run = run_copy, .to = to + c->dst_y * c->dst_pitch + c->dst_x, .from = from + c->src_y * c->src_pitch + c->src_x,
        .bytes = c->width, .to_pitch = c->dst_pitch, .from_pitch = c->src_pitch, .rows = c->height});
}
CUresult cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream) {
    (void)stream;
    WORK("cuMemsetD8Async");
    return put((Work){.run = run_fill, .to = (void *)to, .bytes = bytes, .rows = value});
}
CUresult cuStreamCreate(void **stream, unsigned flags) {
    WORK("cuStreamCreate");
    if (flags != 1) return INVALID;
    *stream = malloc(1);
    return OK;
}
CUresult cuStreamDestroy_v2(void *stream) {
    run_all();
    free(stream);
    return OK;
}
CUresult cuStreamSynchronize(void *stream) {
    (void)stream;
    WORK("cuStreamSynchronize");
    run_all();
    return alive();
}
CUresult cuCtxSynchronize(void) {
    WORK("cuCtxSynchronize");
    run_all();
    return alive();
}
CUresult cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
    (void)stream, (void)event, (void)flags;
    WORK("cuStreamWaitEvent");
    return OK;
}
CUresult cuEventCreate(void **event, unsigned flags) {
    (void)flags;
    WORK("cuEventCreate");
    *event = malloc(1);
    return OK;
}
CUresult cuEventRecord(void *event, void *stream) {
    (void)event, (void)stream;
    WORK("cuEventRecord");
    return OK;
}
CUresult cuEventSynchronize(void *event) {
    (void)event;
    WORK("cuEventSynchronize");
    run_all();
    return alive();
}
CUresult cuEventDestroy_v2(void *event) {
    free(event);
    return OK;
}

/* --- memory ------------------------------------------------------------------------------------------------------------------------ */

static CUresult allocate(void **pointer, size_t bytes) {
    pthread_mutex_lock(&lock);
    long limit = fault("memory");
    int full = ++allocations >= limit && limit > 0;
    pthread_mutex_unlock(&lock);
    if (full) return NO_MEMORY;
    /* Exactly as long as asked for, so that valgrind and the like see each access beyond; never the content of before. */
    *pointer = malloc(bytes);
    memset(*pointer, 0xa5, bytes);
    return OK;
}
CUresult cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    WORK("cuMemAlloc");
    void *pointer;
    CUresult error = allocate(&pointer, bytes);
    if (!error) *address = (uint64_t)pointer;
    return error;
}
CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags) {
    WORK("cuMemHostAlloc");
    return flags ? INVALID : allocate(pointer, bytes);
}
CUresult cuMemFree_v2(uint64_t address) {
    run_all();
    free((void *)address);
    return OK;
}
CUresult cuMemFreeHost(void *pointer) {
    free(pointer);
    return OK;
}

/* --- kernels ----------------------------------------------------------------------------------------------------------------------- */

/* The arguments of each kernel, as the struct that the program passes. */
typedef struct {
    PaintBatch batch;
    void *out;
} PaintCall;
typedef struct {
    HeadArgs head;
    FoundArgs *found;
    u32 *counts;
} CandidatesCall;
typedef struct {
    PictureBatch batch;
    u8 *cells;
} LumaCall;
typedef struct {
    PictureArgs picture;
    const SpanArgs *spans;
    i32 luma_spans, black;
} MaskCall;

static void call_paint_f32(void *call) { paint_f32(((PaintCall *)call)->batch, ((PaintCall *)call)->out); }
static void call_paint_f16(void *call) { paint_f16(((PaintCall *)call)->batch, ((PaintCall *)call)->out); }
static void call_candidates(void *call) {
    candidates(((CandidatesCall *)call)->head, ((CandidatesCall *)call)->found, ((CandidatesCall *)call)->counts);
}
static void call_luma_grid(void *call) { luma_grid(((LumaCall *)call)->batch, ((LumaCall *)call)->cells); }
static void call_mask(void *call) {
    mask(((MaskCall *)call)->picture, ((MaskCall *)call)->spans, ((MaskCall *)call)->luma_spans, ((MaskCall *)call)->black);
}

typedef struct {
    const char *name;
    size_t bytes;
    void (*call)(void *);
    /* Where the address of the result stands in the arguments. */
    size_t result;
} FakeKernel;
static const FakeKernel KERNELS[] = {
    {"paint_f32", sizeof(PaintCall), call_paint_f32, offsetof(PaintCall, out)},
    {"paint_f16", sizeof(PaintCall), call_paint_f16, offsetof(PaintCall, out)},
    {"candidates", sizeof(CandidatesCall), call_candidates, offsetof(CandidatesCall, counts)},
    {"luma_grid", sizeof(LumaCall), call_luma_grid, offsetof(LumaCall, cells)},
    {"mask", sizeof(MaskCall), call_mask, offsetof(MaskCall, picture.y)},
};

CUresult cuModuleLoadDataEx(void **module, const void *image, unsigned count, const int *options, void **values) {
    WORK("cuModuleLoadDataEx");
    const char *ptx = image;
    if (fault("ptx") >= 0 || !strstr(ptx, "\n.version 9.0\n.target sm_75\n")) {
        for (unsigned i = 0; i < count; i++)
            if (options[i] == 5) strcpy(values[i], "ptxas: a mistake of a test\n");
        return BAD_PTX;
    }
    *module = strdup(ptx);
    return OK;
}
CUresult cuModuleUnload(void *module) {
    free(module);
    return OK;
}
CUresult cuModuleGetFunction(void **function, void *module, const char *name) {
    WORK("cuModuleGetFunction");
    char entry[64];
    snprintf(entry, sizeof entry, ".visible .entry %s(", name);
    if (!strstr(module, entry)) return NOT_FOUND;
    for (size_t i = 0; i < sizeof KERNELS / sizeof *KERNELS; i++)
        if (!strcmp(KERNELS[i].name, name)) {
            *function = (void *)&KERNELS[i];
            return OK;
        }
    return NOT_FOUND;
}

static void run_kernel(Work *work) {
    const FakeKernel *kernel = work->from;
    /* The first pages are unmapped, on a GPU as well. */
    if (*(uint64_t *)(work->arguments + kernel->result) < 65536) lost = ILLEGAL_ADDRESS;
    if (lost) return;
    blockDim = (Index3){work->block[0], work->block[1], 1};
    /* From the last thread to the first: a GPU promises no order. */
    for (unsigned z = work->grid[2]; z-- > 0;)
        for (unsigned y = work->grid[1]; y-- > 0;)
            for (unsigned x = work->grid[0]; x-- > 0;)
                for (unsigned ty = work->block[1]; ty-- > 0;)
                    for (unsigned tx = work->block[0]; tx-- > 0;) {
                        blockIdx = (Index3){x, y, z};
                        threadIdx = (Index3){tx, ty, 0};
                        kernel->call(work->arguments);
                    }
    char words[64];
    snprintf(words, sizeof words, "wrong %s", kernel->name);
    if (fault(words) >= 0) **(unsigned char **)(work->arguments + kernel->result) ^= 1;
}

CUresult cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
    void *stream, void **parameters, void **extra) {
    (void)stream;
    WORK("cuLaunchKernel");
    const FakeKernel *kernel = function;
    /* The limits of every GPU that is served. */
    int in_limits = gx && gy && gz && bx && by && bz && bx * by * bz <= 1024 && gy < 65536 && gz < 65536 && !shared;
    if (!in_limits || parameters || extra[0] != (void *)1 || extra[2] != (void *)2 || extra[4]) return INVALID;
    size_t bytes = *(size_t *)extra[3];
    if (bytes != kernel->bytes) return INVALID;
    Work work = {.run = run_kernel, .from = kernel, .grid = {gx, gy, gz}, .block = {bx, by}};
    memcpy(work.arguments, extra[1], bytes);
    pthread_mutex_lock(&lock);
    launches++;
    enqueue(&work);
    pthread_mutex_unlock(&lock);
    return OK;
}

/* --- decoding ---------------------------------------------------------------------------------------------------------------------- */

/* FFmpeg wants every function of the library, whether it calls it or not. */
#define UNUSED(name) CUresult name(void); CUresult name(void) { return INVALID; }
UNUSED(cuCtxCreate_v2)
UNUSED(cuCtxDestroy_v2)
UNUSED(cuCtxSetLimit)
UNUSED(cuMemAllocManaged)
UNUSED(cuMemcpy)
UNUSED(cuMemcpyAsync)
UNUSED(cuMemcpyHtoD_v2)
UNUSED(cuMemcpyDtoH_v2)
UNUSED(cuMemcpyDtoD_v2)
UNUSED(cuMemcpyDtoDAsync_v2)
UNUSED(cuDevicePrimaryCtxRelease)
UNUSED(cuDevicePrimaryCtxSetFlags)
UNUSED(cuDevicePrimaryCtxReset)
UNUSED(cuStreamAddCallback)
UNUSED(cuEventQuery)
UNUSED(cuLinkCreate)
UNUSED(cuLinkAddData)
UNUSED(cuLinkComplete)
UNUSED(cuLinkDestroy)
UNUSED(cuModuleLoadData)
UNUSED(cuModuleGetGlobal)
UNUSED(cuTexObjectCreate)
UNUSED(cuTexObjectDestroy)
UNUSED(cuGLGetDevices_v2)
UNUSED(cuGraphicsGLRegisterImage)
UNUSED(cuGraphicsUnregisterResource)
UNUSED(cuGraphicsMapResources)
UNUSED(cuGraphicsUnmapResources)
UNUSED(cuGraphicsSubResourceGetMappedArray)
UNUSED(cuGraphicsResourceGetMappedPointer_v2)
UNUSED(cuArray3DCreate_v2)
UNUSED(cuArrayDestroy)
UNUSED(cuMemAllocPitch_v2)
UNUSED(cuMemcpy2D_v2)

#include "nvdec.c"
