/* The functions of NVIDIA's management library that the program calls, for a machine without a GPU: one GPU that answers,
   and one that has fallen off the bus; or, with NO_DRIVER, none at all. Shapes and numbers are those of nvml.h. */

enum { SUCCESS = 0, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

#ifdef NO_DRIVER
enum { INIT = DRIVER_NOT_LOADED };
#else
enum { INIT = SUCCESS };
#endif

typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;

int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    static int sound;
    *device = &sound;
    return index == 0 ? SUCCESS : GPU_IS_LOST;
}

int nvmlDeviceGetMemoryInfo_v2(void *device, memory_t *memory) {
    (void)device;
    memory->total = 16106127360ull;
    memory->used = 2147483648ull;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, utilization_t *utilization) {
    (void)device;
    utilization->gpu = 37;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius) {
    (void)device;
    (void)sensor;
    *celsius = 61;
    return SUCCESS;
}
