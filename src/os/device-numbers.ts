/** Major and minor of a device number as stat(2) gives it. makedev(3): bits 8-19, and bits 0-7 with 20-31. */
export function deviceNumbers(device: number): [major: number, minor: number] {
  return [(device >>> 8) & 0xfff, (device & 0xff) | ((device >>> 12) & 0xfff00)];
}
