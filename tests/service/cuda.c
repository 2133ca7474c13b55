/* ONNX Runtime with a CUDA provider, for a machine without a GPU: the functions of the real library (REAL_RUNTIME), but a session that
   asks for CUDA runs on the CPU, and fails as the first word of the file FAKE_CUDA says:

     works             it does not fail
     absent            there is no GPU: CUDA is refused
     after N TEXT      inferences fail with TEXT, after N that worked
     memory N AFTER    inferences of more than N pictures run out of memory, after AFTER inferences
     nodes             its nodes are on the CPU
     ungraphed         a session that is to capture graphs is refused
     uncaptured        an inference that is to be captured fails
     garbled LEVEL     inferences see a black picture: with LEVEL 0 all of them, with 1 those from device memory, with 2 those by graphs
     hangs             CUDA does not answer the first time, and is absent from then on
     gpu N WORDS       as these words say on GPU N, and without failures on the others

   The file is read at each call. FAKE_CUDA_LOG gets a line per call: what was called, and by which thread. Memory "Cuda" is that of the
   host, as the driver of crates/gpu/tests/driver has it. The functions are found by their positions in OrtApi, which never change. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Positions of functions in OrtApi: onnxruntime_c_api.h of version 1.24. */
enum {
    CREATE_STATUS = 0,
    CREATE_SESSION = 7,
    CREATE_SESSION_FROM_ARRAY = 8,
    RUN = 9,
    GET_TENSOR_MUTABLE_DATA = 51,
    GET_DIMENSIONS_COUNT = 61,
    GET_DIMENSIONS = 62,
    GET_TENSOR_SHAPE = 65,
    CREATE_MEMORY_INFO = 68,
    RELEASE_SESSION = 95,
    RELEASE_TENSOR_SHAPE = 99,
    RELEASE_SESSION_OPTIONS = 100,
    GET_AVAILABLE_PROVIDERS = 125,
    RELEASE_AVAILABLE_PROVIDERS = 126,
    RUN_WITH_BINDING = 133,
    RELEASE_IO_BINDING = 135,
    BIND_INPUT = 136,
    ADD_RUN_CONFIG_ENTRY = 165,
    APPEND_CUDA = 204,
    CREATE_CUDA_OPTIONS = 205,
    UPDATE_CUDA_OPTIONS = 206,
    RELEASE_CUDA_OPTIONS = 208,
    GET_ASSIGNMENT = 407,
    GET_EP_NAME = 408,
    FUNCTIONS = 457
};

enum { FAIL = 1, MAX_MARKED = 64, MAX_WORDS = 1024, MAX_DIMENSIONS = 8 };

typedef void *(*status_function)(int code, const char *message);
typedef struct { const void *(*get_api)(uint32_t version); const char *(*get_version)(void); } api_base;

static void *real[FUNCTIONS], *ours[FUNCTIONS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const void *marked[MAX_MARKED]; /* sessions and session options that asked for CUDA */
static long inferences;
static __thread int asks_about_cuda, wants_graphs;
static __thread long stream, device; /* of the session that is being made; the thread runs no other one afterwards */
static struct { const void *key; long number; } noted[MAX_MARKED]; /* pictures of a binding, and its input one further; graph of run
                                                                      options; stream of a session */
static int hung;

static void *failure(const char *message) { return ((status_function)real[CREATE_STATUS])(FAIL, message); }

static int is_marked(const void *it) {
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_MARKED; i++) found |= marked[i] == it;
    pthread_mutex_unlock(&lock);
    return found;
}

/* Puts `to` in the place of `from`: NULL marks and unmarks. */
static void mark(const void *from, const void *to) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_MARKED; i++) {
        if (marked[i] == from) {
            marked[i] = to;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

/* Remembers a number of a binding or of run options. */
static void remember(const void *key, long number) {
    int at = -1;
    pthread_mutex_lock(&lock);
    for (int i = MAX_MARKED - 1; i >= 0; i--) if (!noted[i].key) at = i;
    for (int i = 0; i < MAX_MARKED; i++) if (noted[i].key == key) at = i;
    if (at < 0) abort();
    noted[at].key = key;
    noted[at].number = number;
    pthread_mutex_unlock(&lock);
}

static long number_of(const void *key) {
    long number = -1;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_MARKED; i++) if (key && noted[i].key == key) number = noted[i].number;
    pthread_mutex_unlock(&lock);
    return number;
}

static void forget(const void *key) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_MARKED; i++) if (noted[i].key == key) noted[i].key = NULL;
    pthread_mutex_unlock(&lock);
}

static void behaviour(char words[MAX_WORDS]) {
    FILE *file = fopen(getenv("FAKE_CUDA"), "r");
    size_t length = file ? fread(words, 1, MAX_WORDS - 1, file) : 0;
    words[length] = 0;
    if (file) fclose(file);
    long gpu;
    int at = 0;
    if (sscanf(words, "gpu %ld %n", &gpu, &at) != 1 || !at) return;
    if (gpu == device) memmove(words, words + at, length - (size_t)at + 1);
    else strcpy(words, "works");
}

static void note(const char *what, long number) {
    char thread[16] = "";
    const char *path = getenv("FAKE_CUDA_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    pthread_getname_np(pthread_self(), thread, sizeof thread);
    fprintf(file, "%s %ld %s\n", what, number, thread);
    fclose(file);
}

static void *get_available_providers(char ***out, int *count) {
    static char *names[] = {"CUDAExecutionProvider", "CPUExecutionProvider"};
    *out = names;
    *count = 2;
    return NULL;
}

static void *release_available_providers(char **names, int count) { (void)names, (void)count; return NULL; }

static void *create_cuda_options(void **out) {
    static int options;
    wants_graphs = 0;
    stream = device = 0;
    *out = &options;
    return NULL;
}

static void *update_cuda_options(void *options, const char *const *keys, const char *const *values, size_t count) {
    (void)options;
    for (size_t i = 0; i < count; i++) {
        char line[256];
        snprintf(line, sizeof line, "option %s=%s", keys[i], values[i]);
        note(line, 0);
        if (!strcmp(keys[i], "device_id")) device = atol(values[i]);
        if (!strcmp(keys[i], "user_compute_stream")) stream = atol(values[i]);
        if (!strcmp(keys[i], "enable_cuda_graph")) wants_graphs = !strcmp(values[i], "true");
    }
    return NULL;
}

static void release_cuda_options(void *options) { (void)options; }

static void *append_cuda(void *options, const void *cuda) {
    char words[MAX_WORDS];
    (void)cuda;
    behaviour(words);
    note("provider", 0);
    int hangs = !strncmp(words, "hangs", 5);
    if (hangs && !__atomic_exchange_n(&hung, 1, __ATOMIC_SEQ_CST)) {
        note("hang", 0);
        for (;;) pause();
    }
    if (hangs || !strncmp(words, "absent", 6)) return failure("CUDA failure 100: no CUDA-capable device is detected ; GPU=-1");
    mark(NULL, options);
    return NULL;
}

static void release_session_options(void *options) {
    mark(options, NULL);
    ((void (*)(void *))real[RELEASE_SESSION_OPTIONS])(options);
}

static void created(const void *options, void *session) {
    if (!is_marked(options)) return;
    mark(NULL, session);
    remember(session, stream);
    note("session", 0);
}

/* The failure of a session with these options; NULL if it works. */
static void *session_failure(const void *options) {
    char words[MAX_WORDS];
    behaviour(words);
    if (!is_marked(options) || !wants_graphs || strncmp(words, "ungraphed", 9)) return NULL;
    return failure("This session cannot use the graph capture feature as requested by the user");
}

static void *create_session(void *env, const char *path, const void *options, void **out) {
    void *status = session_failure(options);
    if (!status) status = ((void *(*)(void *, const char *, const void *, void **))real[CREATE_SESSION])(env, path, options, out);
    if (!status) created(options, *out);
    return status;
}

static void *create_session_from_array(void *env, const void *data, size_t length, const void *options, void **out) {
    void *status = session_failure(options);
    if (!status)
        status = ((void *(*)(void *, const void *, size_t, const void *, void **))real[CREATE_SESSION_FROM_ARRAY])(
            env, data, length, options, out);
    if (!status) created(options, *out);
    return status;
}

static void release_session(void *session) {
    mark(session, NULL);
    forget(session);
    ((void (*)(void *))real[RELEASE_SESSION])(session);
}

/* The number of pictures in a tensor: its first dimension. */
static long pictures(const void *tensor) {
    void *shape;
    size_t count = 0;
    int64_t dimensions[MAX_DIMENSIONS] = {0};
    ((void *(*)(const void *, void **))real[GET_TENSOR_SHAPE])(tensor, &shape);
    ((void *(*)(const void *, size_t *))real[GET_DIMENSIONS_COUNT])(shape, &count);
    if (count <= MAX_DIMENSIONS) ((void *(*)(const void *, int64_t *, size_t))real[GET_DIMENSIONS])(shape, dimensions, count);
    ((void (*)(void *))real[RELEASE_TENSOR_SHAPE])(shape);
    return (long)dimensions[0];
}

static void *data_of(const void *tensor) {
    void *data;
    ((void *(*)(const void *, void **))real[GET_TENSOR_MUTABLE_DATA])(tensor, &data);
    return data;
}

/* Blackens the input of an inference of this level: RGB from 0 to 1, float32, 64 x 64 px. */
static void garble(void *input, long batch, long level) {
    char words[MAX_WORDS];
    long from;
    behaviour(words);
    if (sscanf(words, "garbled %ld", &from) == 1 && level >= from) memset(input, 0, (size_t)batch * 3 * 64 * 64 * sizeof(float));
}

/* The failure of an inference of so many pictures; NULL if it works. */
static void *inference_failure(long batch) {
    char words[MAX_WORDS];
    long limit, from, done = __atomic_fetch_add(&inferences, 1, __ATOMIC_SEQ_CST);
    int at = 0;
    behaviour(words);
    if (sscanf(words, "after %ld %n", &limit, &at) == 1 && done >= limit) {
        words[strcspn(words, "\n")] = 0;
        return failure(words + at);
    }
    if (sscanf(words, "memory %ld %ld", &limit, &from) == 2 && done >= from && batch > limit) {
        return failure("onnxruntime::BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 52428800");
    }
    return NULL;
}

static void *run(void *session, const void *options, const char *const *input_names, const void *const *inputs, size_t input_count,
                 const char *const *output_names, size_t output_count, void **outputs) {
    if (is_marked(session)) {
        long batch = pictures(inputs[0]);
        note("run", batch);
        void *status = inference_failure(batch);
        if (status) return status;
        garble(data_of(inputs[0]), batch, 0);
    }
    return ((void *(*)(void *, const void *, const char *const *, const void *const *, size_t, const char *const *, size_t, void **))
                real[RUN])(session, options, input_names, inputs, input_count, output_names, output_count, outputs);
}

static void *create_memory_info(const char *name, int allocator, int id, int memory, void **out) {
    const char *ours_name = strcmp(name, "Cuda") ? name : "Cpu";
    return ((void *(*)(const char *, int, int, int, void **))real[CREATE_MEMORY_INFO])(ours_name, allocator, id, memory, out);
}

static void *add_run_config_entry(void *options, const char *key, const char *value) {
    if (!strcmp(key, "gpu_graph_id")) remember(options, atol(value));
    return ((void *(*)(void *, const char *, const char *))real[ADD_RUN_CONFIG_ENTRY])(options, key, value);
}

static void *bind_input(void *binding, const char *name, const void *value) {
    remember(binding, pictures(value));
    remember((const char *)binding + 1, (long)data_of(value));
    return ((void *(*)(void *, const char *, const void *))real[BIND_INPUT])(binding, name, value);
}

static void release_io_binding(void *binding) {
    forget(binding);
    forget((const char *)binding + 1);
    ((void (*)(void *))real[RELEASE_IO_BINDING])(binding);
}

/* Does what waits in the stream of a session: on a GPU, the inference would come after it in the stream. */
static void *flush(const void *session) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    int (*wait)(void *) = driver ? (int (*)(void *))dlsym(driver, "cuStreamSynchronize") : NULL;
    int error = wait ? wait((void *)number_of(session)) : 0;
    char words[64];
    snprintf(words, sizeof words, "CUDA failure %d: by the driver", error);
    return error ? failure(words) : NULL;
}

static void *run_with_binding(void *session, const void *options, const void *binding) {
    char words[MAX_WORDS];
    long batch = number_of(binding), graph = number_of(options);
    behaviour(words);
    note("run", batch);
    if (graph >= 0) note("graph", graph);
    if (graph >= 0 && !strncmp(words, "uncaptured", 10)) return failure("CUDA failure 900: operation not permitted when stream is capturing");
    void *status = inference_failure(batch);
    if (!status) status = flush(session);
    if (status) return status;
    garble((void *)number_of((const char *)binding + 1), batch, graph >= 0 ? 2 : 1);
    return ((void *(*)(void *, const void *, const void *))real[RUN_WITH_BINDING])(session, options, binding);
}

static void *get_assignment(const void *session, const void *const **subgraphs, size_t *count) {
    asks_about_cuda = is_marked(session);
    return ((void *(*)(const void *, const void *const **, size_t *))real[GET_ASSIGNMENT])(session, subgraphs, count);
}

static void *get_ep_name(const void *subgraph, const char **out) {
    char words[MAX_WORDS];
    behaviour(words);
    if (asks_about_cuda && strncmp(words, "nodes", 5)) {
        *out = "CUDAExecutionProvider";
        return NULL;
    }
    return ((void *(*)(const void *, const char **))real[GET_EP_NAME])(subgraph, out);
}

static const api_base *real_base(void) {
    void *library = dlopen(getenv("REAL_RUNTIME"), RTLD_NOW | RTLD_LOCAL);
    if (!library) abort();
    return ((const api_base *(*)(void))dlsym(library, "OrtGetApiBase"))();
}

static const void *get_api(uint32_t version) {
    const void *api = real_base()->get_api(version);
    if (!api) return NULL;
    memcpy(real, api, sizeof real);
    memcpy(ours, api, sizeof ours);
    ours[CREATE_SESSION] = create_session;
    ours[CREATE_SESSION_FROM_ARRAY] = create_session_from_array;
    ours[RUN] = run;
    ours[CREATE_MEMORY_INFO] = create_memory_info;
    ours[RUN_WITH_BINDING] = run_with_binding;
    ours[RELEASE_IO_BINDING] = release_io_binding;
    ours[BIND_INPUT] = bind_input;
    ours[ADD_RUN_CONFIG_ENTRY] = add_run_config_entry;
    ours[RELEASE_SESSION] = release_session;
    ours[RELEASE_SESSION_OPTIONS] = release_session_options;
    ours[GET_AVAILABLE_PROVIDERS] = get_available_providers;
    ours[RELEASE_AVAILABLE_PROVIDERS] = release_available_providers;
    ours[APPEND_CUDA] = append_cuda;
    ours[CREATE_CUDA_OPTIONS] = create_cuda_options;
    ours[UPDATE_CUDA_OPTIONS] = update_cuda_options;
    ours[RELEASE_CUDA_OPTIONS] = release_cuda_options;
    ours[GET_ASSIGNMENT] = get_assignment;
    ours[GET_EP_NAME] = get_ep_name;
    return ours;
}

static const char *get_version(void) { return real_base()->get_version(); }

const api_base *OrtGetApiBase(void) {
    static const api_base base = {get_api, get_version};
    return &base;
}
