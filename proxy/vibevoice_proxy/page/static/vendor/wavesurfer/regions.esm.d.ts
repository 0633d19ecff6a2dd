export { default } from "wavesurfer.js/dist/plugins/regions.js";
