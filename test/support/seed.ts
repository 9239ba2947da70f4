/** What random tests of this run begin with; PERDURE_SEED repeats a run that failed. */
export const seed: number = Number(process.env["PERDURE_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
