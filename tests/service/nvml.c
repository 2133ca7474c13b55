/* The functions of NVIDIA's management library that the program calls, for a machine without a GPU: one GPU that answers,
   and one that has fallen off the bus; or, with NO_DRIVER, none at all. With XID the first one reports an Xid error, and is lost
   after that. Shapes and numbers are those of nvml.h. */

#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15 };
enum { XID_CRITICAL_ERROR = 8 };

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

int nvmlDeviceGetDecoderUtilization(void *device, unsigned int *utilization, unsigned int *period_us) {
    (void)device;
    *utilization = 12;
    *period_us = 167000;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius) {
    (void)device;
    (void)sensor;
    *celsius = 61;
    return SUCCESS;
}

int nvmlDeviceGetIndex(void *device, unsigned int *index) {
    (void)device;
    *index = 0;
    return SUCCESS;
}

typedef struct { void *device; unsigned long long type, data; unsigned int gpu_instance, compute_instance; } event_t;

static int events;

int nvmlEventSetCreate(void **set) { *set = &events; return SUCCESS; }
int nvmlEventSetFree(void *set) { (void)set; return SUCCESS; }

int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *set) {
    (void)device, (void)set;
#ifdef XID
    return types == XID_CRITICAL_ERROR ? SUCCESS : NOT_SUPPORTED;
#else
    (void)types;
    return NOT_SUPPORTED;
#endif
}

/* An Xid error, a wait without one, and the loss of the GPU. */
int nvmlEventSetWait_v2(void *set, event_t *event, unsigned int timeout_ms) {
    static int calls;
    (void)set;
    switch (calls++) {
    case 0:
        event->device = &events;
        event->type = XID_CRITICAL_ERROR;
        event->data = 79;
        return SUCCESS;
    case 1:
        usleep(timeout_ms * 1000);
        return TIMEOUT;
    default:
        return GPU_IS_LOST;
    }
}
