/* A driver of NVIDIA for a machine without a GPU: libcuda.so.1 and libnvcuvid.so.1 in one library, whose device memory is host memory.

   A "decoded" picture is a pattern made from the bytes of its slices and of those that it may refer to, since the last keyframe, so a
   test knows the picture of each access unit. If the folder FAKE_NVDEC_PICTURES has a file of that number (8 hexadecimal digits), NV12 without padding, the picture is that file.

   The file FAKE_NVDEC says what fails, by its first word; it is read at each call that can fail:

     works              nothing fails
     absent             there is no GPU
     decoders N         there is no memory for more than N decoders at once
     picture N ERROR    the Nth picture cannot be decoded, with this number of an error
     broken N ERROR     no picture from the Nth on can be decoded
     map N ERROR        the Nth picture cannot be mapped
     lost N             the GPU is lost at the Nth picture: this call and every later one return 719

   4:2:2, 4:4:4 and H.264 with more than 8 bits are refused, as by GPUs of the generation Turing. FAKE_NVDEC_LOG gets a line per decoder
   that is created or destroyed. Structures and numbers: the headers dynlink_cuda.h and dynlink_cuviddec.h of nv-codec-headers 11.1. */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, NO_MEMORY = 2, NO_DEVICE = 100, BAD_DEVICE = 101, MAP_FAILED = 205, LOST = 719, MAX_SURFACES = 64, PITCH = 256 };
enum { CODEC_H264 = 4, CHROMA_420 = 1, FORMAT_P016 = 1, HOST = 1 };

struct create_info {
    unsigned long width, height, decode_surfaces;
    int codec, chroma;
    unsigned long flags, bit_depth_minus8, intra_only, max_width, max_height, reserved;
    short display_area[4];
    int format, deinterlace;
    unsigned long target_width, target_height, output_surfaces;
    /* More follows. */
};

struct capabilities {
    int codec, chroma;
    unsigned bit_depth_minus8, reserved[3];
    unsigned char is_supported, engines;
    unsigned short formats;
    unsigned max_width, max_height, max_macroblocks;
    unsigned short min_width, min_height;
    /* More follows. */
};

struct picture_info {
    int width_mbs, height_mbs, index, is_field, is_bottom, is_second;
    unsigned bytes;
    const unsigned char *data;
    /* More follows. */
};

struct copy {
    size_t from_x, from_y;
    int from_type;
    const void *from_host;
    uint64_t from_device;
    void *from_array;
    size_t from_pitch, to_x, to_y;
    int to_type;
    void *to_host;
    uint64_t to_device;
    void *to_array;
    size_t to_pitch, bytes, rows;
};

struct decoder {
    struct create_info info;
    uint32_t numbers[MAX_SURFACES];     /* of the picture in each decode surface */
    uint32_t reference;                 /* the number of the last picture to which others refer */
    unsigned char *outputs[MAX_SURFACES];
    int is_mapped[MAX_SURFACES], mapped, max_mapped, pictures;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int decoders, pictures, maps, is_lost;

static void note(const char *line) {
    const char *path = getenv("FAKE_NVDEC_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    fprintf(file, "%s\n", line);
    fclose(file);
}

/* Returns whether the behaviour is `word`, with its numbers. */
static int behaves(const char *word, long *first, long *second) {
    char said[32] = "";
    const char *path = getenv("FAKE_NVDEC");
    FILE *file = path ? fopen(path, "r") : NULL;
    long numbers[2] = {0, 0};
    if (!file) return 0;
    int read = fscanf(file, "%31s %ld %ld", said, &numbers[0], &numbers[1]);
    fclose(file);
    if (first) *first = numbers[0];
    if (second) *second = numbers[1];
    return read > 0 && !strcmp(said, word);
}

/* The result of a call that fails only if the GPU is lost. */
static int alive(void) { return is_lost ? LOST : OK; }

int cuInit(unsigned flags) { (void)flags; return behaves("absent", NULL, NULL) ? NO_DEVICE : alive(); }
int cuDeviceGetCount(int *count) { *count = 1; return alive(); }
int cuDeviceGet(int *device, int index) { *device = index; return index ? BAD_DEVICE : alive(); }
int cuDeviceGetName(char *name, int length, int device) {
    (void)device;
    snprintf(name, (size_t)length, "Fake T4");
    return alive();
}
int cuDeviceComputeCapability(int *major, int *minor, int device) { (void)device; *major = 7; *minor = 5; return alive(); }
int cuDeviceGetAttribute(int *value, int attribute, int device) { (void)attribute, (void)device; *value = 256; return alive(); }
/* The flags are those of an active context that somebody else made: FFmpeg alone would refuse it. */
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *is_active) { (void)device; *flags = 0; *is_active = 1; return alive(); }
int cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; *context = (void *)0xC1; return alive(); }
int cuCtxGetDevice(int *device) { *device = 0; return alive(); }
int cuCtxPushCurrent_v2(void *context) { (void)context; return alive(); }
int cuCtxPopCurrent_v2(void **context) { if (context) *context = (void *)0xC1; return alive(); }
int cuStreamCreate(void **stream, unsigned flags) { (void)flags; *stream = malloc(1); return alive(); }
int cuStreamDestroy_v2(void *stream) { free(stream); return alive(); }
int cuStreamSynchronize(void *stream) { (void)stream; return alive(); }
int cuStreamQuery(void *stream) { (void)stream; return alive(); }
int cuMemAlloc_v2(uint64_t *at, size_t bytes) { *at = (uint64_t)malloc(bytes); return alive(); }
int cuMemFree_v2(uint64_t at) { free((void *)at); return alive(); }

int cuMemAllocPitch_v2(uint64_t *at, size_t *pitch, size_t width, size_t rows, unsigned element) {
    (void)element;
    *pitch = (width + PITCH - 1) / PITCH * PITCH;
    return cuMemAlloc_v2(at, *pitch * rows);
}

int cuMemcpy2D_v2(const struct copy *copy) {
    const char *from = copy->from_type == HOST ? copy->from_host : (const char *)copy->from_device;
    char *to = copy->to_type == HOST ? copy->to_host : (char *)copy->to_device;
    if (is_lost) return LOST;
    for (size_t row = 0; row < copy->rows; row++) {
        memcpy(to + (copy->to_y + row) * copy->to_pitch + copy->to_x,
               from + (copy->from_y + row) * copy->from_pitch + copy->from_x, copy->bytes);
    }
    return OK;
}

int cuMemcpy2DAsync_v2(const struct copy *copy, void *stream) { (void)stream; return cuMemcpy2D_v2(copy); }

int cuGetErrorName(int error, const char **name) {
    *name = error == LOST ? "CUDA_ERROR_LAUNCH_FAILED" : error == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_FAKE";
    return OK;
}

int cuGetErrorString(int error, const char **text) {
    *text = error == LOST ? "unspecified launch failure" : error == NO_DEVICE ? "no CUDA-capable device is detected" : "as a test asked for";
    return OK;
}

int cuvidGetDecoderCaps(struct capabilities *is) {
    int has_bits = is->bit_depth_minus8 == 0 || (is->codec != CODEC_H264 && is->bit_depth_minus8 <= 4);
    is->is_supported = is->chroma == CHROMA_420 && has_bits;
    is->engines = 2;
    is->formats = 3;
    is->max_width = is->max_height = 4096;
    is->max_macroblocks = 65536;
    is->min_width = 48;
    is->min_height = 16;
    return alive();
}

int cuvidCreateDecoder(void **out, struct create_info *info) {
    char line[160];
    long max;
    if (is_lost) return LOST;
    pthread_mutex_lock(&lock);
    int is_full = behaves("decoders", &max, NULL) && decoders >= max;
    decoders += !is_full;
    pthread_mutex_unlock(&lock);
    if (is_full) return NO_MEMORY;
    struct decoder *decoder = calloc(1, sizeof *decoder);
    decoder->info = *info;
    *out = decoder;
    snprintf(line, sizeof line, "create %lux%lu surfaces %lu outputs %lu", info->width, info->height, info->decode_surfaces,
             info->output_surfaces);
    note(line);
    return OK;
}

int cuvidDestroyDecoder(void *of) {
    char line[160];
    struct decoder *decoder = of;
    snprintf(line, sizeof line, "destroy pictures %d mapped %d of %lu", decoder->pictures, decoder->max_mapped,
             decoder->info.output_surfaces);
    note(line);
    for (int i = 0; i < MAX_SURFACES; i++) free(decoder->outputs[i]);
    free(decoder);
    pthread_mutex_lock(&lock);
    decoders--;
    pthread_mutex_unlock(&lock);
    return alive();
}

/* The number of a picture: FNV-1a of its slices, as FFmpeg passes them, which continues that of the last reference picture: slices of
   skipped blocks have the same bytes in other scenes. */
static uint32_t number_of(struct decoder *decoder, const unsigned char *data, unsigned bytes) {
    int is_h264 = decoder->info.codec == CODEC_H264, type = is_h264 ? data[3] & 31 : data[3] >> 1 & 63;
    int is_keyframe = is_h264 ? type == 5 : type >= 16 && type <= 21;
    int is_reference = is_h264 ? data[3] >> 5 & 3 : type >= 16 || type % 2;
    uint32_t number = is_keyframe ? 2166136261u : decoder->reference;
    for (unsigned i = 0; i < bytes; i++) number = (number ^ data[i]) * 16777619u;
    if (is_reference) decoder->reference = number;
    return number;
}

int cuvidDecodePicture(void *of, struct picture_info *picture) {
    struct decoder *decoder = of;
    long at, error;
    pthread_mutex_lock(&lock);
    int count = ++pictures;
    pthread_mutex_unlock(&lock);
    if (behaves("lost", &at, NULL) && count >= at) is_lost = 1;
    if (is_lost) return LOST;
    if (behaves("picture", &at, &error) && count == at) return (int)error;
    if (behaves("broken", &at, &error) && count >= at) return (int)error;
    decoder->pictures++;
    decoder->numbers[picture->index] = number_of(decoder, picture->data, picture->bytes);
    return OK;
}

int cuvidGetDecodeStatus(void *of, int index, int *status) { (void)of, (void)index; *status = 2; return alive(); }

/* Writes a sample, which has 8 bits, or 10 at the top of 16. */
static void put(unsigned char *row, size_t x, int is_wide, unsigned value) {
    if (is_wide) ((uint16_t *)(void *)row)[x] = (uint16_t)((value & 255) << 8);
    else row[x] = (unsigned char)value;
}

static void paint(unsigned char *at, size_t pitch, const struct create_info *info, uint32_t number) {
    int is_wide = info->format == FORMAT_P016;
    for (size_t y = 0; y < info->target_height; y++) {
        for (size_t x = 0; x < info->target_width; x++) {
            put(at + y * pitch, x, is_wide, (unsigned)((number >> 8 * ((x ^ y) & 3)) + 7 * x + 13 * y));
        }
    }
    at += pitch * info->target_height;
    for (size_t y = 0; y < info->target_height / 2; y++) {
        for (size_t x = 0; x < info->target_width / 2; x++) {
            put(at + y * pitch, 2 * x, is_wide, (unsigned)((number >> 8) + 3 * x + 5 * y));
            put(at + y * pitch, 2 * x + 1, is_wide, (unsigned)((number >> 16) + 11 * x + 2 * y + 128));
        }
    }
}

/* Reads the picture from its file, if there is one. */
static int paint_file(unsigned char *at, size_t pitch, const struct create_info *info, uint32_t number) {
    char path[4096];
    const char *folder = getenv("FAKE_NVDEC_PICTURES");
    if (!folder) return 0;
    snprintf(path, sizeof path, "%s/%08x", folder, number);
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    size_t rows = info->target_height * 3 / 2, read = 0;
    for (size_t y = 0; y < rows; y++) read += fread(at + y * pitch, info->target_width, 1, file);
    fclose(file);
    return read == rows;
}

int cuvidMapVideoFrame64(void *of, int index, uint64_t *at, unsigned *pitch, void *how) {
    struct decoder *decoder = of;
    const struct create_info *info = &decoder->info;
    long which, error;
    int slot = 0;
    (void)how;
    if (is_lost) return LOST;
    pthread_mutex_lock(&lock);
    int count = ++maps;
    pthread_mutex_unlock(&lock);
    if (behaves("map", &which, &error) && count == which) return (int)error;
    while (slot < (int)info->output_surfaces && decoder->is_mapped[slot]) slot++;
    if (slot == (int)info->output_surfaces) return MAP_FAILED;
    *pitch = (unsigned)(info->target_width * (info->format == FORMAT_P016 ? 2 : 1) + PITCH - 1) / PITCH * PITCH;
    if (!decoder->outputs[slot]) decoder->outputs[slot] = malloc(*pitch * info->target_height * 3 / 2);
    uint32_t number = decoder->numbers[index];
    if (!paint_file(decoder->outputs[slot], *pitch, info, number)) paint(decoder->outputs[slot], *pitch, info, number);
    decoder->is_mapped[slot] = 1;
    if (++decoder->mapped > decoder->max_mapped) decoder->max_mapped = decoder->mapped;
    *at = (uint64_t)decoder->outputs[slot];
    return OK;
}

int cuvidUnmapVideoFrame64(void *of, uint64_t at) {
    struct decoder *decoder = of;
    for (int i = 0; i < MAX_SURFACES; i++) {
        if ((uint64_t)decoder->outputs[i] == at) decoder->is_mapped[i] = 0;
    }
    /* A surface whose mapping has ended is overwritten: whoever still reads it fails a test. */
    memset((void *)at, 0xA5, decoder->info.target_width);
    decoder->mapped--;
    return alive();
}

/* FFmpeg wants every function of the two libraries, whether it calls it or not. */
#define UNUSED(name) int name(void); int name(void) { return alive(); }
UNUSED(cuCtxCreate_v2)
UNUSED(cuCtxDestroy_v2)
UNUSED(cuCtxSetLimit)
UNUSED(cuMemAllocManaged)
UNUSED(cuMemsetD8Async)
UNUSED(cuMemcpy)
UNUSED(cuMemcpyAsync)
UNUSED(cuMemcpyHtoD_v2)
UNUSED(cuMemcpyHtoDAsync_v2)
UNUSED(cuMemcpyDtoH_v2)
UNUSED(cuMemcpyDtoHAsync_v2)
UNUSED(cuMemcpyDtoD_v2)
UNUSED(cuMemcpyDtoDAsync_v2)
UNUSED(cuDevicePrimaryCtxRelease)
UNUSED(cuDevicePrimaryCtxRelease_v2)
UNUSED(cuDevicePrimaryCtxSetFlags)
UNUSED(cuDevicePrimaryCtxReset)
UNUSED(cuStreamAddCallback)
UNUSED(cuEventCreate)
UNUSED(cuEventDestroy_v2)
UNUSED(cuEventSynchronize)
UNUSED(cuEventQuery)
UNUSED(cuEventRecord)
UNUSED(cuLaunchKernel)
UNUSED(cuLinkCreate)
UNUSED(cuLinkAddData)
UNUSED(cuLinkComplete)
UNUSED(cuLinkDestroy)
UNUSED(cuModuleLoadData)
UNUSED(cuModuleUnload)
UNUSED(cuModuleGetFunction)
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
UNUSED(cuvidReconfigureDecoder)
UNUSED(cuvidCtxLockCreate)
UNUSED(cuvidCtxLockDestroy)
UNUSED(cuvidCtxLock)
UNUSED(cuvidCtxUnlock)
UNUSED(cuvidCreateVideoSource)
UNUSED(cuvidCreateVideoSourceW)
UNUSED(cuvidDestroyVideoSource)
UNUSED(cuvidSetVideoSourceState)
UNUSED(cuvidGetVideoSourceState)
UNUSED(cuvidGetSourceVideoFormat)
UNUSED(cuvidGetSourceAudioFormat)
UNUSED(cuvidCreateVideoParser)
UNUSED(cuvidParseVideoData)
UNUSED(cuvidDestroyVideoParser)
