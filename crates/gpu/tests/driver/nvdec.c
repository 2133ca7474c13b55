/* The decoder of the driver of driver.c, which includes this file: libnvcuvid.so.1 as FFmpeg uses it.
 *
 * A "decoded" picture is a pattern made from the bytes of its slices and of those that it may refer to, since the last keyframe, so a
 * test knows the picture of each access unit. If the folder `pictures` beside the library has a file of that number (8 hexadecimal
 * digits), NV12 without padding, the picture is that file. 4:2:2, 4:4:4 and H.264 with more than 8 bits are refused, as by GPUs of the
 * generation Turing. The file `log` beside the library gets a line per decoder that is created or destroyed. Decoders of 192 x 160 px
 * are those of the program's self-test: they are not in the log, and their pictures do not count.
 *
 * Structures and numbers: the headers dynlink_cuda.h and dynlink_cuviddec.h of nv-codec-headers 11.1. */

enum { MAP_FAILED = 205, MAX_SURFACES = 64, PITCH = 256, CODEC_H264 = 4, CHROMA_420 = 1, FORMAT_P016 = 1 };

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

struct decoder {
    struct create_info info;
    uint32_t numbers[MAX_SURFACES];     /* of the picture in each decode surface */
    uint32_t reference;                 /* the number of the last picture to which others refer */
    unsigned char *outputs[MAX_SURFACES];
    int is_mapped[MAX_SURFACES], mapped, max_mapped, pictures;
};

static int decoders, pictures, maps;

static void note(const char *line) {
    char path[4096];
    FILE *file = fopen(beside_library(path, sizeof path, "log"), "a");
    if (!file) return;
    fprintf(file, "%s\n", line);
    fclose(file);
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

/* Returns whether the decoder is one of the program's self-test. */
static int is_self_test(const struct decoder *decoder) { return decoder->info.width == 192 && decoder->info.height == 160; }

int cuvidCreateDecoder(void **out, struct create_info *info) {
    char line[160];
    long max;
    if (lost) return lost;
    struct decoder *decoder = calloc(1, sizeof *decoder);
    decoder->info = *info;
    pthread_mutex_lock(&lock);
    int counts = !is_self_test(decoder), is_full = counts && fault_numbers("decoders", &max, NULL) && decoders >= max;
    decoders += counts && !is_full;
    pthread_mutex_unlock(&lock);
    if (is_full) {
        free(decoder);
        return NO_MEMORY;
    }
    *out = decoder;
    if (!counts) return OK;
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
    int counts = !is_self_test(decoder);
    if (counts) note(line);
    for (int i = 0; i < MAX_SURFACES; i++) free(decoder->outputs[i]);
    free(decoder);
    pthread_mutex_lock(&lock);
    decoders -= counts;
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
    int count = is_self_test(decoder) ? 0 : ++pictures;
    pthread_mutex_unlock(&lock);
    if (fault_numbers("lost", &at, NULL) && count >= at) lost = LOST;
    if (lost) return lost;
    if (fault_numbers("picture", &at, &error) && count == at) return (int)error;
    if (fault_numbers("broken", &at, &error) && count >= at) return (int)error;
    decoder->pictures++;
    decoder->numbers[picture->index] = number_of(decoder, picture->data, picture->bytes);
    return OK;
}

int cuvidGetDecodeStatus(void *of, int index, int *status) { (void)of, (void)index; *status = 2; return alive(); }

/* Writes a sample, which has 8 bits, or 10 at the top of 16. */
static void put_sample(unsigned char *row, size_t x, int is_wide, unsigned value) {
    if (is_wide) ((uint16_t *)(void *)row)[x] = (uint16_t)((value & 255) << 8);
    else row[x] = (unsigned char)value;
}

static void paint_picture(unsigned char *at, size_t pitch, const struct create_info *info, uint32_t number) {
    int is_wide = info->format == FORMAT_P016;
    for (size_t y = 0; y < info->target_height; y++) {
        for (size_t x = 0; x < info->target_width; x++) {
            put_sample(at + y * pitch, x, is_wide, (unsigned)((number >> 8 * ((x ^ y) & 3)) + 7 * x + 13 * y));
        }
    }
    at += pitch * info->target_height;
    for (size_t y = 0; y < info->target_height / 2; y++) {
        for (size_t x = 0; x < info->target_width / 2; x++) {
            put_sample(at + y * pitch, 2 * x, is_wide, (unsigned)((number >> 8) + 3 * x + 5 * y));
            put_sample(at + y * pitch, 2 * x + 1, is_wide, (unsigned)((number >> 16) + 11 * x + 2 * y + 128));
        }
    }
}

/* Reads the picture from its file, if there is one. */
static int read_picture(unsigned char *at, size_t pitch, const struct create_info *info, uint32_t number) {
    char path[4096], name[32];
    snprintf(name, sizeof name, "pictures/%08x", number);
    FILE *file = fopen(beside_library(path, sizeof path, name), "rb");
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
    if (lost) return lost;
    pthread_mutex_lock(&lock);
    int count = is_self_test(decoder) ? 0 : ++maps;
    pthread_mutex_unlock(&lock);
    if (fault_numbers("map", &which, &error) && count == which) return (int)error;
    while (slot < (int)info->output_surfaces && decoder->is_mapped[slot]) slot++;
    if (slot == (int)info->output_surfaces) return MAP_FAILED;
    *pitch = (unsigned)(info->target_width * (info->format == FORMAT_P016 ? 2 : 1) + PITCH - 1) / PITCH * PITCH;
    if (!decoder->outputs[slot]) decoder->outputs[slot] = malloc(*pitch * info->target_height * 3 / 2);
    uint32_t number = decoder->numbers[index];
    if (!read_picture(decoder->outputs[slot], *pitch, info, number)) paint_picture(decoder->outputs[slot], *pitch, info, number);
    if (is_self_test(decoder) && fault("wrong nvdec") >= 0) decoder->outputs[slot][0] ^= 1;
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

/* FFmpeg wants every function of the library, whether it calls it or not. */
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
