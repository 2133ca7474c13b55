/* Preloaded into the program on a real GPU: the Nth launch of a kernel that paints a model's input writes to an illegal address.

   BAD_LAUNCH is a file with N, 0 for never. It gets a second line, the number of launches so far, and `bad` once the address was given.
   The program finds the functions of the driver by dlsym, so that is what stands before the real one here; others that find them in
   the same way (CUDA's own libraries) launch kernels of other modules, which pass. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KERNELS = 16, MAX_ARGUMENTS = 4096, ILLEGAL = 0x10 };

typedef void *(*find_symbol)(void *library, const char *name);
typedef int (*get_function)(void **function, void *module, const char *name);
typedef int (*launch_kernel)(void *function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared, void *stream,
                             void **parameters, void **extra);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static get_function real_get_function;
static launch_kernel real_launch;
static void *painters[MAX_KERNELS]; /* the kernels that paint */
static int painter_count;
static long launches, bad_at = -1;

/* Returns whether this launch is the bad one, and writes how far it is. */
static int is_bad(void) {
    const char *path = getenv("BAD_LAUNCH");
    FILE *file = path ? fopen(path, "r+") : NULL;
    if (!file) return 0;
    if (bad_at < 0 && fscanf(file, "%ld", &bad_at) != 1) bad_at = 0;
    int is = ++launches == bad_at;
    rewind(file);
    fprintf(file, "%ld\n%ld%s\n", bad_at, launches, bad_at && launches >= bad_at ? " bad" : "");
    fclose(file);
    return is;
}

static int our_get_function(void **function, void *module, const char *name) {
    int error = real_get_function(function, module, name);
    pthread_mutex_lock(&lock);
    if (!error && !strncmp(name, "paint_", 6) && painter_count < MAX_KERNELS) painters[painter_count++] = *function;
    pthread_mutex_unlock(&lock);
    return error;
}

static int our_launch(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                      void *stream, void **parameters, void **extra) {
    char arguments[MAX_ARGUMENTS];
    void *bad_extra[5];
    int paints = 0, bad;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < painter_count; i++) paints |= painters[i] == function;
    bad = paints && is_bad();
    pthread_mutex_unlock(&lock);
    if (bad) {
        /* CU_LAUNCH_PARAM_BUFFER_POINTER, buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, size, end: the result's address is the last argument. */
        size_t bytes = *(size_t *)extra[3];
        uint64_t address = ILLEGAL;
        if (bytes > sizeof arguments || extra[0] != (void *)1) abort();
        memcpy(arguments, extra[1], bytes);
        memcpy(arguments + bytes - sizeof address, &address, sizeof address);
        memcpy(bad_extra, extra, sizeof bad_extra);
        bad_extra[1] = arguments;
        extra = bad_extra;
    }
    return real_launch(function, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra);
}

void *dlsym(void *library, const char *name) {
    static find_symbol real;
    if (!real) real = (find_symbol)dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    if (!real) real = (find_symbol)dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    if (!strcmp(name, "cuModuleGetFunction")) {
        real_get_function = (get_function)real(library, name);
        return real_get_function ? (void *)our_get_function : NULL;
    }
    if (!strcmp(name, "cuLaunchKernel")) {
        real_launch = (launch_kernel)real(library, name);
        return real_launch ? (void *)our_launch : NULL;
    }
    /* A tail call: RTLD_NEXT is found by who called this. */
    return real(library, name);
}
