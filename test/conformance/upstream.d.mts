export function start(options?: { base?: number; vault?: number; host?: string }): Promise<{ close(): void }>;
