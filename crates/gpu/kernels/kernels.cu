/* The kernels of the GPU path. One source for two compilers: NVRTC makes kernels.ptx of it (scripts/gpu/ptx), and the tests compile it
 * for the host (kernels/host.h), where it must agree with the CPU pass to the bit.
 *
 * So it is C that both accept, and its arithmetic is that of src/detect: integers where the CPU has integers, and floats in the same
 * order without fused multiply-add (--fmad=false, -ffp-contract=off). Tables of taps and weights come from the CPU's code. The structs
 * have twins in src/launch.rs; the assertions on their sizes are in both places. */
#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void
#define INLINE static __device__ __forceinline__
/* Read in place: without it, an index into an argument that is known only at run time would copy the argument for each thread. */
#define ARGUMENT const __grid_constant__
#define STATIC_ASSERT static_assert
#else
#include "host.h"
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;

/* Frames per launch. Arguments of a kernel have 4096 bytes, and the slots of `paint` fill 3200 of them. */
#define MAX_FRAMES 16

#ifdef __CUDACC__
INLINE u16 half_of(float value) {
    u16 half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
    return half;
}
INLINE float float_of(u16 half) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
    return value;
}
#endif

/* An 8-bit YUV 4:2:0 picture. chroma_step: bytes from one chroma sample to the next, 2 for NV12, where u and v alternate, and 1 for
 * separate planes. */
typedef struct {
    u8 *y, *u, *v;
    i32 y_pitch, uv_pitch, chroma_step, width, height, unused;
} PictureArgs;
STATIC_ASSERT(sizeof(PictureArgs) == 48, "as in launch.rs");

/* --- paint: a picture as a model's input ------------------------------------------------------------------------------------------ */

/* The two source rows of a row of the content, and the weight of the lower; 2^15 is 1. */
typedef struct {
    i32 upper, lower, weight;
} RowArgs;

/* The source samples of the content's columns and rows in one plane. weights: left in the lower 16 bits, right in the upper; 2^14 is 1. */
typedef struct {
    const i32 *at, *weights;
    const RowArgs *rows;
} TapArgs;

/* A picture and its place in the input. scale, shift and grey are in the order of the input's channels. */
typedef struct {
    PictureArgs picture;
    TapArgs luma, chroma;
    i32 pad_x, pad_y, content_w, content_h, side_w, side_h;
    float by_luma, red_v, green_u, green_v, blue_u, offset[3];
    float scale[3], shift[3], grey[3];
    i32 is_scaled, is_bgr, unused;
} PaintArgs;
STATIC_ASSERT(sizeof(PaintArgs) == 200, "as in launch.rs");

typedef struct {
    PaintArgs slot[MAX_FRAMES];
} PaintBatch;

/* Blends two samples of a column; 2^7 of the result is 1 level. Rounds as the instruction pmulhrsw does. */
INLINE i32 blend(i32 upper, i32 lower, i32 weight) {
    i32 high = upper << 7, low = lower << 7;
    return high + (((low - high) * weight + (1 << 14)) >> 15);
}

/* The blend of the four samples around a pixel of the content; 2^21 is 1 level. */
INLINE float sample(const u8 *plane, i32 pitch, i32 step, i32 width, RowArgs row, i32 at, i32 weights) {
    const u8 *upper = plane + (i64)row.upper * pitch, *lower = plane + (i64)row.lower * pitch;
    /* The last column has no right neighbour, and its weight is 0. */
    i64 left = (i64)at * step, right = (i64)(at + 1 < width ? at + 1 : at) * step;
    i32 a = blend(upper[left], lower[left], row.weight), b = blend(upper[right], lower[right], row.weight);
    return (float)(a * (weights & 0xffff) + b * (weights >> 16));
}

INLINE float clamp01(float value) { return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value; }

/* Writes the channels of the input's pixel (x, y) into `out`. */
INLINE void paint_pixel(const PaintArgs *s, i32 x, i32 y, float out[3]) {
    i32 column = x - s->pad_x, line = y - s->pad_y;
    if (column < 0 || line < 0 || column >= s->content_w || line >= s->content_h) {
        for (i32 c = 0; c < 3; c++) out[c] = s->grey[c];
        return;
    }
    const PictureArgs *p = &s->picture;
    RowArgs y_row = s->luma.rows[line], c_row = s->chroma.rows[line];
    i32 c_at = s->chroma.at[column], c_weights = s->chroma.weights[column], half_w = (p->width + 1) / 2;
    float luma = sample(p->y, p->y_pitch, 1, p->width, y_row, s->luma.at[column], s->luma.weights[column]) * s->by_luma;
    float u = sample(p->u, p->uv_pitch, p->chroma_step, half_w, c_row, c_at, c_weights);
    float v = sample(p->v, p->uv_pitch, p->chroma_step, half_w, c_row, c_at, c_weights);
    float rgb[3];
    rgb[0] = clamp01(luma + v * s->red_v + s->offset[0]);
    rgb[1] = clamp01(luma + u * s->green_u + v * s->green_v + s->offset[1]);
    rgb[2] = clamp01(luma + u * s->blue_u + s->offset[2]);
    for (i32 c = 0; c < 3; c++) {
        float value = s->is_bgr ? rgb[2 - c] : rgb[c];
        out[c] = s->is_scaled ? value * s->scale[c] + s->shift[c] : value;
    }
}

/* One thread per pixel of the input, grid z per picture. `out`: [picture, channel, height, width]. */
KERNEL paint_f32(ARGUMENT PaintBatch batch, float *out) {
    i32 x = (i32)(blockIdx.x * blockDim.x + threadIdx.x), y = (i32)(blockIdx.y * blockDim.y + threadIdx.y);
    const PaintArgs *s = &batch.slot[blockIdx.z];
    if (x >= s->side_w || y >= s->side_h) return;
    i64 plane = (i64)s->side_w * s->side_h, at = (i64)blockIdx.z * 3 * plane + (i64)y * s->side_w + x;
    float pixel[3];
    paint_pixel(s, x, y, pixel);
    for (i32 c = 0; c < 3; c++) out[at + c * plane] = pixel[c];
}

/* As paint_f32, each number rounded to the nearest f16. */
KERNEL paint_f16(ARGUMENT PaintBatch batch, u16 *out) {
    i32 x = (i32)(blockIdx.x * blockDim.x + threadIdx.x), y = (i32)(blockIdx.y * blockDim.y + threadIdx.y);
    const PaintArgs *s = &batch.slot[blockIdx.z];
    if (x >= s->side_w || y >= s->side_h) return;
    i64 plane = (i64)s->side_w * s->side_h, at = (i64)blockIdx.z * 3 * plane + (i64)y * s->side_w + x;
    float pixel[3];
    paint_pixel(s, x, y, pixel);
    for (i32 c = 0; c < 3; c++) out[at + c * plane] = half_of(pixel[c]);
}

/* --- candidates: the boxes of a model's output that reach the threshold ------------------------------------------------------------ */

/* The numbers of a model's output and their places: a box's number `i` of anchor `a` in slot `s` is
 * boxes[s * box_slot + a * box_anchor + i * box_channel], and so on. objectness is 0 where the layout has none. */
typedef struct {
    const void *boxes, *scores, *objectness;
    i64 box_slot, score_slot;
    i32 box_anchor, box_channel, score_anchor, score_channel;
    i32 anchors, classes, is_half, capacity;
    float threshold;
    i32 unused;
} HeadArgs;
STATIC_ASSERT(sizeof(HeadArgs) == 80, "as in launch.rs");

/* One anchor that reaches the threshold, with its box as the output has it. */
typedef struct {
    i32 anchor, class_index;
    float conf, box[4];
    i32 unused;
} FoundArgs;
STATIC_ASSERT(sizeof(FoundArgs) == 32, "as in launch.rs");

INLINE float number(const void *numbers, i64 at, i32 is_half) {
    return is_half ? float_of(((const u16 *)numbers)[at]) : ((const float *)numbers)[at];
}

/* One thread per anchor, grid y per slot. Appends to `found` ([slot, capacity]) in no certain order; `counts` has the number of anchors of
 * each slot, also of those for which there was no room. */
KERNEL candidates(ARGUMENT HeadArgs head, FoundArgs *found, u32 *counts) {
    i32 anchor = (i32)(blockIdx.x * blockDim.x + threadIdx.x), slot = (i32)blockIdx.y;
    if (anchor >= head.anchors) return;
    i64 score_at = slot * head.score_slot + (i64)anchor * head.score_anchor;
    float objectness = 1.0f;
    if (head.objectness) {
        objectness = number(head.objectness, score_at, head.is_half);
        /* Written so that NaN is left out. */
        if (!(objectness >= head.threshold)) return;
    }
    float best = 0.0f;
    i32 class_index = -1;
    for (i32 c = 0; c < head.classes; c++) {
        float score = number(head.scores, score_at + (i64)c * head.score_channel, head.is_half);
        /* Of equal scores the first counts. */
        if (score == score && (class_index < 0 || score > best)) {
            best = score;
            class_index = c;
        }
    }
    if (class_index < 0) return;
    float conf = head.objectness ? objectness * best : best;
    if (!(conf >= head.threshold)) return;
    u32 at = atomicAdd(&counts[slot], 1u);
    if (at >= (u32)head.capacity) return;
    FoundArgs *one = &found[(i64)slot * head.capacity + at];
    i64 box_at = slot * head.box_slot + (i64)anchor * head.box_anchor;
    one->anchor = anchor;
    one->class_index = class_index;
    one->conf = conf;
    for (i32 i = 0; i < 4; i++) one->box[i] = number(head.boxes, box_at + (i64)i * head.box_channel, head.is_half);
    one->unused = 0;
}

/* --- luma_grid: the motion gate's picture in little -------------------------------------------------------------------------------- */

#define GRID_COLUMNS 64
#define GRID_ROWS 36
/* Rows of pixels of a cell that are read at most. */
#define GRID_ROWS_READ 8

typedef struct {
    PictureArgs picture[MAX_FRAMES];
} PictureBatch;

/* The first pixel of part `index` of `parts`. */
INLINE i32 part_start(i32 pixels, i32 index, i32 parts) { return (i32)((i64)index * pixels / parts); }

/* The end of the part that starts at `start`: it has at least one pixel, where there is one. */
INLINE i32 part_end(i32 pixels, i32 index, i32 parts, i32 start) {
    i32 end = part_start(pixels, index + 1, parts);
    end = end > start ? end : start + 1;
    return end < pixels ? end : pixels;
}

/* One thread per cell, grid y per picture. `cells`: [picture, row, column].
 * A cell has at most some hundred pixels, so its sum needs no second thread, nor a barrier, which the host could not imitate. */
KERNEL luma_grid(ARGUMENT PictureBatch batch, u8 *cells) {
    i32 cell = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
    if (cell >= GRID_COLUMNS * GRID_ROWS) return;
    const PictureArgs *p = &batch.picture[blockIdx.y];
    i32 column = cell % GRID_COLUMNS, row = cell / GRID_COLUMNS;
    i32 left = part_start(p->width, column, GRID_COLUMNS), right = part_end(p->width, column, GRID_COLUMNS, left);
    i32 top = part_start(p->height, row, GRID_ROWS), bottom = part_end(p->height, row, GRID_ROWS, top);
    i32 step = (bottom - top + GRID_ROWS_READ - 1) / GRID_ROWS_READ;
    u32 sum = 0, pixels = 0;
    for (i32 y = top; y < bottom; y += step) {
        const u8 *line = p->y + (i64)y * p->y_pitch;
        for (i32 x = left; x < right; x++) sum += line[x];
        pixels += (u32)(right - left);
    }
    /* Rounded to nearest. */
    cells[(i64)blockIdx.y * GRID_COLUMNS * GRID_ROWS + cell] = (u8)((sum + pixels / 2) / pixels);
}

/* --- mask: black regions ----------------------------------------------------------------------------------------------------------- */

/* The samples `from` to `to` (exclusive) of a row of a plane. */
typedef struct {
    i32 row, from, to;
} SpanArgs;
STATIC_ASSERT(sizeof(SpanArgs) == 12, "as in launch.rs");

/* One block per span: the first `luma_spans` are of the luma, the others of both chroma planes. */
KERNEL mask(ARGUMENT PictureArgs picture, const SpanArgs *spans, i32 luma_spans, i32 black) {
    SpanArgs span = spans[blockIdx.x];
    i32 first = span.from + (i32)threadIdx.x;
    if ((i32)blockIdx.x < luma_spans) {
        u8 *line = picture.y + (i64)span.row * picture.y_pitch;
        for (i32 x = first; x < span.to; x += (i32)blockDim.x) line[x] = (u8)black;
    } else {
        i64 line = (i64)span.row * picture.uv_pitch;
        for (i32 x = first; x < span.to; x += (i32)blockDim.x) {
            picture.u[line + (i64)x * picture.chroma_step] = 128;
            picture.v[line + (i64)x * picture.chroma_step] = 128;
        }
    }
}
