// Finding and trying the native build, starting the trainer.
export { deviceFromQueue, queueDevice, queueDevices } from './queue-device';
export { advanceQueue, continueQueue, leaveQueueToChild, type AdvanceOptions } from './advance-queue';
export { doctor, type DoctorOptions, type Fact } from './doctor';
export { childEnvironment } from './environment';
export { findCublasLt } from './cublaslt';
export { machineFor, type ExperimentMachine } from './machine';
export { chooseGpu, obstacle, type CudaProbe, type GpuChoice } from './gpu';
export { loadAddon } from './load-addon';
export { findNative, NATIVE_VARIABLE, type NativeFiles } from './native-files';
export { probeNative, askCuda, type NativeProbe, type ProbeOptions } from './probe-native';
export { findTrainer, spawnTrainer, type SpawnTrainerOptions } from './spawn-trainer';
export { measureSpeed, type SpeedMeasurement } from './measure-speed';
